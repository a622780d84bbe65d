//! `mcp-manager serve`: puts the parts together, and takes them apart in good order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mcp_chaos_evidence::{TraceEvent, node_name};
use mcp_manager::node::{Node, Options};
use mcp_manager::plants::Plants;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;

use crate::actor::{Actor, Inputs};
use crate::build;
use crate::calls::{self, Calls};
use crate::cli::Serve;
use crate::clock::RunClock;
use crate::config::{ServeOptions, Settings};
use crate::data_dir::{self, DataDir};
use crate::failure::{Failure, PANICKED};
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::peers::{self, Identity};
use crate::storage::{self, StorageStats};
use crate::tls::Tls;
use crate::trace::TraceWriter;

/// How long running HTTP requests may take to end once the node has stopped.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// Runs a node until it is told to stop.
pub fn serve(command: Serve) -> Result<(), Failure> {
    let options = match &command.config {
        Some(path) => command.options.or(ServeOptions::from_file(path)?),
        None => command.options,
    };
    start_logging(&options)?;
    let settings = options.complete()?;
    let node_options = node_options(&settings)?;
    // Before anything is opened: a node that cannot take part should leave nothing behind.
    let tls = settings.tls_dir.as_deref().map(|directory| Tls::load(directory, settings.id)).transpose()?;

    // First of all: a trace belongs to whoever holds the data.
    let lock = data_dir::lock(&settings.data_dir)?;
    let clock = RunClock::new(settings.epoch_ns);
    let mut trace = TraceWriter::open(settings.trace.as_deref(), settings.id, clock)
        .map_err(|error| Failure::Other(format!("--trace: {error}")))?;
    end_on_panic(trace.duplicate().map_err(|error| Failure::Other(format!("--trace: {error}")))?);
    let data = data_dir::open(&settings.data_dir, settings.id, settings.founded, node_options.plants, lock)
        .inspect_err(|failure| {
        if let Failure::Refused(reason) = failure {
            record(&mut trace, TraceEvent::Refused { reason: reason.clone() });
        }
    })?;
    trace.set_boot(data.recovered.boot);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One for the node, one for the network: nodes of a test share few cores.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start: {error}")))?;
    let result = runtime.block_on(run(settings, node_options, tls, data, trace));
    // Tasks that still wait for a peer or a client are of no use any more.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn run(
    settings: Settings,
    options: Options,
    tls: Option<Tls>,
    data: DataDir,
    mut trace: TraceWriter,
) -> Result<(), Failure> {
    let DataDir { wal, recovered, lock } = data;
    let mut outputs = Vec::new();
    let cluster = (!recovered.cluster.is_empty()).then(|| recovered.cluster.clone());
    let node = Node::new(options.clone(), recovered, &mut outputs).map_err(|error| {
        let reason = format!("--data-dir {}: {error}", settings.data_dir.display());
        record(&mut trace, TraceEvent::Refused { reason: reason.clone() });
        Failure::Refused(reason)
    })?;
    if cluster.is_none() {
        // Nothing has happened yet: its `started` record follows once it is founded.
        outputs.clear();
    }

    let peer_listener = listen("--listen-peers", settings.listen_peers).await?;
    let client_listener = listen("--listen-clients", settings.listen_clients).await?;
    let (stopping, stopped) = (stop_signal()?, watch::channel(false));
    announce(&settings, &peer_listener, &client_listener)?;

    let (founded, founded_for) = watch::channel(cluster);
    let network = peers::stats_for(settings.peers.keys().copied());
    let identity = tls.map(|tls| Identity { id: settings.id, cluster: founded_for, tls });
    let (peers, peer_events) = peers::start(identity, &settings.peers, peer_listener, &network);
    let disk = Arc::new(StorageStats::default());
    let (storage, done) = storage::start(wal, settings.keep_entries, Arc::clone(&disk))
        .map_err(|error| Failure::Other(format!("cannot start: {error}")))?;
    let (calls, incoming) = calls::channel();
    let (beat, beats) = watch::channel(0);
    let actor = Actor {
        options,
        node,
        storage,
        peers,
        known: settings.peers.keys().copied().chain([settings.id]).collect::<BTreeSet<_>>(),
        trace,
        cluster: founded,
        beat,
        outputs,
        waiting: BTreeMap::new(),
        next_ticket: 1,
    };
    let app = App::new(
        calls.clone(),
        &node_name(settings.id),
        settings.token.as_deref(),
        Arc::new(Metrics::new(network, disk)),
        beats,
    );
    let mut stop_http = stopped.1;
    let http = tokio::spawn(http::serve(app, client_listener, async move {
        let _ = stop_http.wait_for(|stopped| *stopped).await;
    }));
    let signalled = tokio::spawn(stop_on(stopping, calls, stopped.0.clone()));

    let result = actor.run(Inputs { done, peers: peer_events, calls: incoming }).await;
    stopped.0.send_replace(true);
    let _ = timeout(DRAIN_WITHIN, http).await;
    signalled.abort();
    drop(lock);
    tracing::info!("stopped");
    result
}

/// On the first signal: accept no more clients, and let the node stop in good order.
async fn stop_on(signals: impl Future<Output = &'static str>, calls: Calls, stop_http: watch::Sender<bool>) {
    let name = signals.await;
    tracing::info!(signal = name, "stopping");
    stop_http.send_replace(true);
    calls.stop().await;
}

fn stop_signal() -> Result<impl Future<Output = &'static str>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::Other(format!("cannot listen to signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

async fn listen(option: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::Other(format!("{option} {address}: {error}")))
}

/// Says where the node listens: in the log, and in the ports file (whole or not at all).
fn announce(settings: &Settings, peers: &TcpListener, clients: &TcpListener) -> Result<(), Failure> {
    let address = |listener: &TcpListener| {
        listener.local_addr().map_err(|error| Failure::Other(format!("cannot listen: {error}")))
    };
    let (peers, clients) = (address(peers)?, address(clients)?);
    tracing::info!(node = node_name(settings.id), version = build::line(), %peers, %clients, "listening");
    if !settings.plants.is_empty() {
        tracing::warn!(plants = settings.plants.join(","), "this node carries planted bugs");
    }
    let Some(path) = &settings.ports_file else { return Ok(()) };
    let content = serde_json::json!({"peers": peers, "clients": clients}).to_string();
    let partial = path.with_extension("partial");
    std::fs::write(&partial, content)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Failure::Other(format!("--ports-file {}: {error}", Path::new(path).display())))
}

fn node_options(settings: &Settings) -> Result<Options, Failure> {
    let seed = match settings.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let plants =
        Plants::parse(&settings.plants).map_err(|error| Failure::Usage(format!("--plant: {error}")))?;
    Ok(Options {
        tick_ns: u64::try_from(settings.tick.as_nanos()).unwrap_or(u64::MAX),
        heartbeat_ticks: settings.heartbeat_ticks,
        election_ticks: settings.election_ticks,
        snapshot_every_entries: settings.snapshot_every_entries,
        keep_entries: settings.keep_entries,
        plants,
        ..Options::new(settings.id, seed)
    })
}

fn random_seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Failure::Other("the operating system gives no randomness; give --seed".to_owned()))?;
    Ok(u64::from_le_bytes(bytes))
}

fn start_logging(options: &ServeOptions) -> Result<(), Failure> {
    let filter = match &options.log {
        Some(filter) => EnvFilter::try_new(filter)
            .map_err(|error| Failure::Usage(format!("--log {filter:?}: {error}")))?,
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match options.log_format.as_deref() {
        None | Some("text") => builder.init(),
        Some("json") => builder.json().init(),
        Some(other) => {
            return Err(Failure::Usage(format!("--log-format: expected text or json, found {other:?}")));
        }
    }
    Ok(())
}

/// A panic anywhere ends the process at once, on record: half a node must not go on.
fn end_on_panic(trace: TraceWriter) {
    let trace = std::sync::Mutex::new(trace);
    std::panic::set_hook(Box::new(move |info| {
        let message = info.to_string();
        // A second panic in here, or at the same time elsewhere, must not wait for the first.
        if let Ok(mut trace) = trace.try_lock() {
            record(&mut trace, TraceEvent::Panicked { message: message.clone() });
        }
        let backtrace = std::backtrace::Backtrace::force_capture();
        let _ = writeln!(std::io::stderr(), "mcp-manager: panicked: {message}\n{backtrace}");
        std::process::exit(PANICKED);
    }));
}

/// Writes a record of the end; if even that fails, the message on stderr must do.
fn record(trace: &mut TraceWriter, event: TraceEvent) {
    if let Err(error) = trace.write(event) {
        tracing::error!(%error, "the trace cannot be written");
    }
}
