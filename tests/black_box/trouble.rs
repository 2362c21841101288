//! The kinds of trouble, and how each is made and ended.

use std::fs;
use std::path::Path;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use tests::deployment::Edge;
use tests::fault_proxy::{Ending, Fault, Link, Part, Position, Route};

use crate::run::World;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    LinkRefused,
    LinkSilent,
    RequestFin,
    RequestRst,
    RequestShortened,
    AnswerFin,
    AnswerRst,
    AnswerShortened,
    AnswerSwallowed,
    PortalPage,
    PortalJson,
    BadGateway,
    TooManyRequests,
    TooLarge,
    StaleAnswers,
    SlowAndLossy,
    LateAnswers,
    PushTwice,
    PullTwice,
    OldPushesAgain,
    EdgeKilled,
    EdgePaused,
    EdgeRestarted,
    HubKilled,
    HubPaused,
    PostgresKilled,
    BackendsTerminated,
    RowsLocked,
    ClockAhead,
    ClockBehind,
    EdgeRestored,
    EdgeWithoutLog,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 32] = [
        Self::LinkRefused,
        Self::LinkSilent,
        Self::RequestFin,
        Self::RequestRst,
        Self::RequestShortened,
        Self::AnswerFin,
        Self::AnswerRst,
        Self::AnswerShortened,
        Self::AnswerSwallowed,
        Self::PortalPage,
        Self::PortalJson,
        Self::BadGateway,
        Self::TooManyRequests,
        Self::TooLarge,
        Self::StaleAnswers,
        Self::SlowAndLossy,
        Self::LateAnswers,
        Self::PushTwice,
        Self::PullTwice,
        Self::OldPushesAgain,
        Self::EdgeKilled,
        Self::EdgePaused,
        Self::EdgeRestarted,
        Self::HubKilled,
        Self::HubPaused,
        Self::PostgresKilled,
        Self::BackendsTerminated,
        Self::RowsLocked,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::EdgeRestored,
        Self::EdgeWithoutLog,
    ];

    /// Makes the trouble at the edge `edge`, waits while people work on, and ends it as far as it does not end by itself.
    pub(crate) async fn happen(self, world: &World, edge: &Edge, random: &mut SmallRng) {
        let link = edge.link();
        let writes = random.random_range(2..20);
        let on_the_way = |answer| Link::Answers(answer);
        match self {
            Self::LinkRefused => self.link_is(world, edge, Link::Refused, writes).await,
            Self::LinkSilent => self.link_is(world, edge, Link::Silent, writes).await,
            Self::PortalPage => {
                let body = "<!doctype html><title>Welcome to the airport</title>";
                self.link_is(world, edge, Link::Portal { media_type: "text/html", body }, writes).await;
            }
            Self::PortalJson => {
                self.link_is(world, edge, Link::Portal { media_type: "application/json", body: "{}" }, writes).await;
            }
            Self::BadGateway => self.link_is(world, edge, on_the_way(BAD_GATEWAY), writes).await,
            Self::TooManyRequests => self.link_is(world, edge, on_the_way(TOO_MANY), writes).await,
            Self::TooLarge => self.link_is(world, edge, on_the_way(TOO_LARGE), writes).await,
            Self::StaleAnswers => self.link_is(world, edge, Link::Stale, writes).await,
            Self::RequestFin | Self::RequestRst | Self::RequestShortened => self.cut(world, edge, random, writes).await,
            Self::AnswerFin | Self::AnswerRst | Self::AnswerShortened | Self::AnswerSwallowed => {
                self.cut(world, edge, random, writes).await;
            }
            Self::SlowAndLossy => {
                link.slow_down(19_200, 0.1);
                world.work(writes).await;
            }
            Self::LateAnswers => {
                link.delay(*[Route::Push, Route::Pull].choose(random).expect("two routes"), 400);
                world.work(writes).await;
            }
            Self::PushTwice => self.twice(world, edge, Route::Push, writes).await,
            Self::PullTwice => self.twice(world, edge, Route::Pull, writes).await,
            Self::OldPushesAgain => world.send_old_pushes_again(edge, 5).await,
            _ => self.at_a_process(world, edge, writes).await,
        }
        link.heal();
    }

    async fn link_is(self, world: &World, edge: &Edge, link: Link, writes: u32) {
        edge.link().set_link(link);
        world.work(writes).await;
    }

    async fn twice(self, world: &World, edge: &Edge, route: Route, writes: u32) {
        edge.link().duplicate(route);
        world.work(writes).await;
    }

    async fn cut(self, world: &World, edge: &Edge, random: &mut SmallRng, writes: u32) {
        let (part, ending) = match self {
            Self::RequestFin => (Part::Request, Ending::Fin),
            Self::RequestRst => (Part::Request, Ending::Rst),
            Self::RequestShortened => (Part::Request, Ending::Shortened),
            Self::AnswerFin => (Part::Answer, Ending::Fin),
            Self::AnswerShortened => (Part::Answer, Ending::Shortened),
            _ => (Part::Answer, Ending::Rst),
        };
        let positions =
            [Position::InHeaders, Position::AtFrameBoundary, Position::MidRow, Position::LastByte, Position::Before];
        let at = match self {
            Self::AnswerSwallowed => Position::Before,
            _ => *positions.choose(random).expect("five positions"),
        };
        let route = *[Route::Push, Route::Pull, Route::Hello].choose(random).expect("three routes");
        edge.link().set_fault(Fault { route, part, at, ending });
        world.work(writes).await;
    }

    async fn at_a_process(self, world: &World, edge: &Edge, writes: u32) {
        match self {
            Self::EdgeKilled => {
                edge.kill();
                edge.start().await;
            }
            Self::EdgePaused => {
                edge.pause();
                world.work_elsewhere(writes).await;
                edge.go_on();
            }
            Self::EdgeRestarted => {
                edge.stop();
                edge.start().await;
            }
            Self::HubKilled => {
                let hub = world.deployment.hub(0);
                hub.kill();
                world.work(writes).await;
                hub.start();
                assert!(hub.is_ready().await, "{}", hub.log());
            }
            Self::HubPaused => {
                let hub = world.deployment.hub(1);
                hub.pause();
                world.work(writes).await;
                hub.go_on();
            }
            Self::PostgresKilled => {
                world.deployment.cluster().kill();
                world.work_elsewhere(writes).await;
                world.deployment.cluster().start_again();
            }
            Self::BackendsTerminated => {
                let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                  where pid <> pg_backend_pid() and datname = current_database()";
                world.deployment.sql(terminate).await;
                world.work(writes).await;
            }
            Self::RowsLocked => world.lock_rows(writes).await,
            Self::ClockAhead => {
                world.clock.set("+5400");
                world.work(writes).await;
            }
            Self::ClockBehind => {
                world.clock.set("-86400");
                world.work(writes).await;
            }
            Self::EdgeRestored => restore(world, edge).await,
            Self::EdgeWithoutLog => lose_the_log(world, edge).await,
            other => unreachable!("{other:?} is made at the link"),
        }
    }
}

const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nsorry";
const TOO_MANY: &str = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nlarge";

/// The box is put back to a copy of its folder. Nobody writes there while the copy is older than what the hub has, so nothing
/// is lost that only this box held.
async fn restore(world: &World, edge: &Edge) {
    let kept = world.deployment.directory().join(format!("kept-{}", edge.place().edge));
    let paused = world.memory.pause().await;
    edge.stop();
    // Nobody has the file open: what is copied is of one moment.
    copy(edge.data(), &kept);
    edge.start().await;
    drop(paused);
    world.work(6).await;
    let paused = world.memory.pause().await;
    world.until_nothing_waits(edge).await;
    edge.stop();
    copy(&kept, edge.data());
    edge.start().await;
    drop(paused);
    world.work(2).await;
}

/// The box crashes, and the log of its database is gone: it is as it was at the last checkpoint.
async fn lose_the_log(world: &World, edge: &Edge) {
    let paused = world.memory.pause().await;
    world.until_nothing_waits(edge).await;
    edge.kill();
    // A plain client that closes last takes the log into the file.
    let _ = fs::remove_file(edge.data().join("edge.db-wal"));
    edge.start().await;
    drop(paused);
    world.work(2).await;
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("the test's directory is there");
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        if entry.file_type().expect("a file has a type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a file can be copied");
        }
    }
}
