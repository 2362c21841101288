//! A cluster's past, kept by PostgreSQL's own means: a base backup to go back to, and a standby that lags and takes over.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;

use super::{Cluster, PORT_TRIES_MAX, SUPERUSER, free_port, run, text};
use crate::wait::until_true;

/// A copy of a cluster's files, taken while it ran.
#[derive(Debug)]
pub struct BaseBackup(PathBuf);

/// A second server that follows a cluster until it is cut off from it.
pub struct Standby<'a> {
    cluster: &'a Cluster,
    data: PathBuf,
    port: u16,
    server: Child,
}

impl Cluster {
    /// Copies the running cluster as `pg_basebackup` does.
    pub fn base_backup(&self) -> BaseBackup {
        let to = self.directory.join("base-backup");
        self.copy_to(&to, &[]);
        BaseBackup(to)
    }

    /// Kills the server and puts a base backup in the place of its files: same port, same system identifier, same timeline.
    pub fn go_back_to(&self, backup: &BaseBackup) {
        self.kill();
        self.replace_data(&backup.0);
        self.start_again();
    }

    /// Starts a standby that streams from this cluster.
    pub fn standby(&self) -> Standby<'_> {
        let data = self.directory.join("standby");
        self.copy_to(&data, &["--write-recovery-conf"]);
        for _ in 0..PORT_TRIES_MAX {
            let port = free_port();
            self.append(&data, &format!("port = {port}\n"));
            let log = fs::File::options().append(true).create(true).open(self.directory.join("standby.log"));
            let log = log.expect("open the log");
            let mut server = self
                .program("postgres")
                .arg("-D")
                .arg(&data)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file handle can be cloned"))
                .stderr(log)
                .spawn()
                .unwrap_or_else(|error| panic!("start the standby: {error}"));
            let mut ended = false;
            until_true("the standby answers or ends", || {
                ended = server.try_wait().expect("the standby is our child").is_some();
                ended || self.accepts_connections_at(port)
            });
            if !ended {
                return Standby { cluster: self, data, port, server };
            }
        }
        panic!("the standby did not start on any of {PORT_TRIES_MAX} free ports");
    }

    fn copy_to(&self, to: &std::path::Path, more: &[&str]) {
        let port = self.port.to_string();
        let mut command = self.program("pg_basebackup");
        command.args(["--checkpoint=fast", "--wal-method=stream", "--no-sync", "-h", "127.0.0.1", "-U", SUPERUSER]);
        let output = run(command.args(["-p", &port, "-D"]).arg(to).args(more));
        assert!(output.status.success(), "pg_basebackup: {}", text(&output.stderr));
    }

    fn replace_data(&self, by: &std::path::Path) {
        let (data, lost) = (self.directory.join("data"), self.directory.join("lost"));
        for (from, to) in [(data.as_path(), lost.as_path()), (by, data.as_path())] {
            fs::rename(from, to).unwrap_or_else(|error| panic!("rename {}: {error}", from.display()));
        }
    }
}

impl Standby<'_> {
    /// Waits until the standby has replayed what the cluster has written, pauses it, and cuts it off: whatever is written
    /// from now on is written by the cluster alone.
    pub async fn cut_off(&self) {
        let primary = self.cluster.connect("postgres").await;
        let standby = super::connect(&self.cluster.url_at(self.port)).await;
        let written: String =
            primary.query_one("select pg_current_wal_lsn()::text", &[]).await.expect("a primary has a position").get(0);
        crate::wait::eventually("the standby has replayed everything", async || {
            let replayed = "select coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
            let row = standby.query_one(replayed, &[&written]).await.map_err(|error| format!("{error:?}"))?;
            if row.get(0) { Ok(()) } else { Err(format!("not up to {written}")) }
        })
        .await;
        // What has been received is replayed by a promotion even when replay is paused, so the stream ends first.
        for statement in ["alter system set primary_conninfo = ''", "select pg_reload_conf()"] {
            standby.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        crate::wait::eventually("the standby streams no more", async || {
            let streams = "select exists (select from pg_stat_wal_receiver)";
            let row = standby.query_one(streams, &[]).await.map_err(|error| format!("{error:?}"))?;
            if row.get(0) { Err("it streams".to_owned()) } else { Ok(()) }
        })
        .await;
        standby.batch_execute("select pg_wal_replay_pause()").await.expect("a standby can be paused");
    }

    /// The cluster is lost, and the standby takes its place and its port.
    pub async fn take_over(mut self) {
        self.cluster.kill();
        let output = run(self.cluster.program("pg_ctl").arg("-D").arg(&self.data).args(["-m", "fast", "-w", "stop"]));
        assert!(output.status.success(), "stop the standby: {}", text(&output.stderr));
        self.server.wait().expect("the standby is our child");
        self.cluster.replace_data(&self.data);
        self.cluster.append_settings(&format!("port = {}\n", self.cluster.port));
        self.cluster.start_again();
        let promoted = self.cluster.connect("postgres").await;
        let row = promoted.query_one("select pg_promote(true, 60)", &[]).await;
        assert!(row.unwrap_or_else(|error| panic!("promote: {error:?}")).get::<_, bool>(0), "the standby is promoted");
    }
}

impl Drop for Standby<'_> {
    fn drop(&mut self) {
        if !thread::panicking() || self.server.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // A failed test leaves it running; its files go with the cluster's.
        let _ = run(self.cluster.program("pg_ctl").arg("-D").arg(&self.data).args(["-m", "immediate", "-w", "stop"]));
        let _ = self.server.wait();
    }
}
