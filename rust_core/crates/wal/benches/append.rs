//! What one durable batch costs the simulator: a hard state and one entry of 64 bytes, written to a disk in
//! memory, and synced.

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use mcp_chaos_consensus::{Batch, Entry, EntryKind, HardState, Snapshot, SnapshotMeta};
use mcp_chaos_wal::{Options, SimDisk, Wal};

fn founded() -> Wal<SimDisk> {
    let (mut wal, _) = Wal::open(SimDisk::new(), Options::new(1)).expect("an empty disk");
    let meta = SnapshotMeta { index: 1, term: 1, ..SnapshotMeta::default() };
    wal.found("bench", &Snapshot { meta, data: Bytes::new() }).expect("not founded before");
    wal
}

fn append(criterion: &mut Criterion) {
    let (mut wal, mut index) = (founded(), 1);
    let data = Bytes::from(vec![7; 64]);
    criterion.bench_function("wal/append", |bench| {
        bench.iter(|| {
            index += 1;
            let entry = Entry { index, term: 1, kind: EntryKind::Normal, data: data.clone() };
            let hard_state = Some(HardState { term: 1, vote: 1, commit: index - 1 });
            wal.write(&Batch { snapshot: None, entries: vec![entry], hard_state, must_sync: true })
                .expect("contiguous");
            wal.sync().expect("powered");
            if index % 100_000 == 0 {
                (wal, index) = (founded(), 1);
            }
        });
    });
}

criterion_group!(benches, append);
criterion_main!(benches);
