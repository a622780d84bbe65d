//! The log's disk on real files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use mcp_chaos_wal::{Disk, DiskError};

/// One directory of real files.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    /// Open for syncing names.
    directory: File,
    /// The file last appended to, open: the log grows one file at a time.
    growing: Option<(String, File)>,
}

impl FileDisk {
    /// The directory at `path`, which is made, durably, if it is not there.
    pub fn open(path: &Path) -> Result<FileDisk, DiskError> {
        let told = |error| translate(&path.to_string_lossy(), error);
        make_directory(path).map_err(told)?;
        let directory = File::open(path).map_err(told)?;
        Ok(FileDisk { path: path.into(), directory, growing: None })
    }

    /// Runs `work` on the file, opened for appending.
    fn with_growing(
        &mut self,
        file: &str,
        work: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let open = match self.growing.take() {
            Some((name, open)) if name == file => Ok(open),
            _ => OpenOptions::new().append(true).open(self.path.join(file)),
        };
        let mut open = open.map_err(|error| translate(file, error))?;
        let result = work(&mut open).map_err(|error| translate(file, error));
        self.growing = Some((file.into(), open));
        result
    }
}

/// Makes the directory and those above it, each one's name durable.
fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {
            // It may have been made a moment ago. A directory above that we may not read was made by another.
            return match sync_directory(parent(path)) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
                other => other,
            };
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_directory(parent(path))?;
            fs::create_dir(path)?;
        }
        other => other?,
    }
    sync_directory(parent(path))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn translate(file: &str, error: io::Error) -> DiskError {
    let file = file.to_owned();
    match error.kind() {
        ErrorKind::NotFound => DiskError::NotFound { file },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full { file },
        _ => DiskError::Io { file, message: error.to_string() },
    }
}

impl Disk for FileDisk {
    /// Directories too: they do not belong into a data directory, and whoever opens it should see them.
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let names = fs::read_dir(&self.path)
            .and_then(|entries| entries.map(name).collect::<io::Result<Vec<String>>>());
        let mut names = names.map_err(|error| translate(&self.path.to_string_lossy(), error))?;
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, DiskError> {
        fs::read(self.path.join(file)).map_err(|error| translate(file, error))
    }

    fn create(&mut self, file: &str) -> Result<(), DiskError> {
        File::create(self.path.join(file)).map(drop).map_err(|error| translate(file, error))
    }

    fn append(&mut self, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.with_growing(file, |open| open.write_all(bytes))
    }

    fn sync(&mut self, file: &str) -> Result<(), DiskError> {
        self.with_growing(file, |open| open.sync_data())
    }

    fn truncate(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        self.with_growing(file, |open| open.set_len(length))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.growing = None;
        fs::rename(self.path.join(from), self.path.join(to)).map_err(|error| translate(from, error))
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        self.growing.take_if(|(name, _)| name == file);
        fs::remove_file(self.path.join(file)).map_err(|error| translate(file, error))
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.directory.sync_all().map_err(|error| translate(&self.path.to_string_lossy(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_chaos_consensus::{Batch, Entry, EntryKind, HardState, Snapshot, SnapshotMeta};
    use mcp_chaos_wal::{OpenError, Options, SimDisk, Wal};

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn open(path: &Path) -> FileDisk {
        FileDisk::open(path).expect("writable")
    }

    /// Every operation, in an order that a log would use.
    fn exercise(disk: &mut impl Disk) -> Vec<Result<(), DiskError>> {
        vec![
            disk.create("a"),
            disk.append("a", b"one"),
            disk.append("a", b"two"),
            disk.sync("a"),
            disk.truncate("a", 4),
            disk.append("a", b"!"),
            disk.create("b"),
            disk.append("b", b"b"),
            disk.append("a", b"?"),
            disk.rename("a", "c"),
            disk.append("c", b"."),
            disk.create("a"),
            disk.append("a", b"new"),
            disk.rename("b", "a"),
            disk.append("a", b"+"),
            disk.create("d"),
            disk.append("d", b"x"),
            disk.create("d"),
            disk.remove("d"),
            disk.append("d", b"gone"),
            disk.sync("d"),
            disk.remove("d"),
            disk.rename("d", "e"),
            disk.sync_directory(),
        ]
    }

    #[test]
    fn real_files_and_the_simulated_disk_behave_alike() {
        let place = directory();
        let (mut real, mut simulated) = (open(place.path()), SimDisk::new());
        assert_eq!(exercise(&mut real), exercise(&mut simulated));
        let names = simulated.list().expect("powered");
        assert_eq!(real.list().as_ref(), Ok(&names));
        assert_eq!(names, ["a", "c"]);
        for name in names.iter().map(String::as_str).chain(["d"]) {
            assert_eq!(real.read(name), simulated.read(name), "{name}");
        }
        assert_eq!(real.read("c").expect("renamed"), b"onet!?.");
    }

    #[test]
    fn a_log_on_real_files_is_read_back_by_the_next_process() {
        let place = directory();
        let path = place.path().join("cluster").join("n1");
        let options = Options { segment_bytes: 500, ..Options::new(1) };
        let (mut wal, recovered) = Wal::open(open(&path), options.clone()).expect("empty");
        assert_eq!(recovered.boot, 1);
        let snapshot = |index, data: &'static [u8]| Snapshot {
            meta: SnapshotMeta { index, term: 1, ..SnapshotMeta::default() },
            data: data.into(),
        };
        wal.found("tests", &snapshot(1, b"founding")).expect("unfounded");
        let entries: Vec<Entry> = (2..40)
            .map(|index| Entry {
                index,
                term: 1,
                kind: EntryKind::Normal,
                data: vec![index as u8; 60].into(),
            })
            .collect();
        let hard_state = HardState { term: 1, vote: 1, commit: 20 };
        for entry in &entries {
            let batch =
                Batch { entries: vec![entry.clone()], hard_state: Some(hard_state), ..Batch::default() };
            wal.write(&batch).expect("contiguous");
            wal.sync().expect("healthy");
        }
        let before = wal.disk().list().expect("readable").len();
        wal.save_snapshot(&snapshot(20, b"at 20")).expect("healthy");
        wal.compact(15).expect("healthy");
        assert!(wal.disk().list().expect("readable").len() < before);
        drop(wal);

        let (_, recovered) = Wal::open(open(&path), options).expect("intact");
        assert_eq!((recovered.boot, recovered.hard_state), (2, hard_state));
        assert_eq!(recovered.snapshot, Some(snapshot(20, b"at 20")));
        assert_eq!(recovered.entries, entries[19..]);
    }

    #[test]
    fn a_subdirectory_makes_a_data_directory_foreign() {
        let place = directory();
        fs::create_dir(place.path().join("photos")).expect("writable");
        let failure = Wal::open(open(place.path()), Options::new(1)).expect_err("foreign");
        assert!(matches!(failure.error, OpenError::Foreign { file, .. } if file == "photos"));
    }

    #[test]
    fn a_path_that_is_no_directory_is_told_by_name() {
        let place = directory();
        let path = place.path().join("file");
        fs::write(&path, b"").expect("writable");
        let error = FileDisk::open(&path).expect_err("no directory");
        assert!(error.to_string().contains("file"), "{error}");
    }
}
