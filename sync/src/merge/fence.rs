//! Whether the history of an edge continues what the hub knows of it, and the other way round.
//!
//! Two counters are compared, each with a random word so that a fork is told from a repeat: the fence token, rotated
//! with each acknowledged push, and the checkpoint, rotated with each cursor. A counter that is ahead at the edge
//! proves that the centre was rewound, if the edge can show that the hub issued it, and so does a checkpoint with another
//! word: the hub issues each count once. One that is behind proves that the edge was. A copy of an edge shows as one that is
//! behind, because the other copy moved on.

use super::ids::ReplicaId;

/// A counter with its random word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How often it was rotated.
    pub count: u64,
    /// Random.
    pub word: String,
}

/// What an edge says of its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said<Id> {
    /// Its highest seq.
    pub seq: u64,
    /// The fence token that it holds.
    pub token: Mark,
    /// Whether the hub's seal is on that token.
    pub token_sealed: bool,
    /// The checkpoint of its cursor, which only the hub can have sealed; none before the first one.
    pub checkpoint: Option<Mark>,
    /// Whether its cursor is from beyond the present of the database.
    pub beyond: bool,
    /// The batch that was sent and not answered.
    pub in_flight: Option<Id>,
    /// Whether it was sent writes under its own id that it never made.
    pub forked: bool,
}

/// What the hub knows of that replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known<Id> {
    /// The highest seq that it ever reported.
    pub high_seq: u64,
    /// The token that it should hold.
    pub token: Mark,
    /// The word of the token before.
    pub word_before: Option<String>,
    /// The last batch that was answered.
    pub last_batch: Option<Id>,
    /// The last checkpoint that it was given.
    pub checkpoint: Mark,
}

/// How the two histories stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// One continues the other; at most an answer was lost.
    Continues,
    /// The edge was restored to an earlier state, or is one of two copies.
    EdgeRewound,
    /// The centre was restored to an earlier state.
    CentreRewound,
}

/// Whether a checkpoint is not of this history: the centre knows of no such one, or of another in its place. A pull that
/// shows one is not answered: a centre that went back would count up to where it was and never hear of it.
pub fn is_of_another_history(said: &Mark, known: &Mark) -> bool {
    said.count > known.count || said.count == known.count && said.word != known.word
}

/// Compares the two.
pub fn history<Id: PartialEq>(said: &Said<Id>, known: &Known<Id>) -> History {
    let foreign_checkpoint =
        said.checkpoint.as_ref().is_some_and(|mark| is_of_another_history(mark, &known.checkpoint));
    let token_ahead = said.token_sealed && said.token.count > known.token.count;
    if said.beyond || foreign_checkpoint || token_ahead {
        return History::CentreRewound;
    }
    let lost_answer = said.in_flight.is_some()
        && said.in_flight == known.last_batch
        && said.token.count.checked_add(1) == Some(known.token.count)
        && known.word_before.as_deref() == Some(&said.token.word);
    if said.forked || said.seq < known.high_seq || said.token != known.token && !lost_answer {
        return History::EdgeRewound;
    }
    History::Continues
}

/// What becomes of a batch by the token that it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It continues what the hub knows of its sender.
    Next,
    /// It is the last one once more, because its answer was lost: it gets the same answer again.
    Repeated,
    /// It is an earlier one once more, or of another history: nothing of it is taken.
    Stale,
}

/// Rules on a batch whose sender shows the token `said`. `token` is the one that it should hold, empty for none, and
/// `word_before` the word of the one before that; `same` says whether the batch is the one that was answered last, byte for
/// byte.
pub fn admission(said: &Mark, token: &Mark, word_before: Option<&str>, same: bool) -> Admission {
    let is_before = said.count.checked_add(1) == Some(token.count) && word_before == Some(&said.word);
    match () {
        () if token.word.is_empty() => Admission::Stale,
        () if said == token => Admission::Next,
        () if same && is_before => Admission::Repeated,
        () => Admission::Stale,
    }
}

/// What is known when an edge says hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Whether it last agreed with the present incarnation of the centre.
    pub here: bool,
    /// Whether its cursor belongs to an incarnation that this database never had.
    pub unknown: bool,
    /// How the two histories stand.
    pub history: History,
    /// Whether its id is not to be used any more ([`is_spent`]); asked of an edge from a former incarnation.
    pub spent: bool,
    /// Whether it has a cursor that can be opened, or has not pulled yet.
    pub has_cursor: bool,
    /// Whether somebody wants the two to be compared.
    pub asked: bool,
}

/// What a hello comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The exchange goes on.
    GoOn,
    /// The edge takes a new id.
    Reidentify,
    /// The two are compared.
    Compare,
    /// The edge learns of the present incarnation, renames, and is compared.
    Rejoin,
    /// A new incarnation begins; then as [`Ruling::Reidentify`].
    Rewind,
}

/// Whether an edge that comes from a former incarnation may not go on under its id.
///
/// One that was given in a former incarnation has no token: what the centre knew of its numbers may be lost, so nobody can
/// tell whether the edge went back as well, or is one of two copies, and would use numbers again that others hold. One that
/// was given in the present incarnation is spent if somebody else goes by it: the hub knows of more writes than the edge has
/// made, or has taken a push under a token that it was never given.
pub fn is_spent<Id>(said: &Said<Id>, known: &Known<Id>) -> bool {
    let pushed = known.last_batch.is_some();
    known.token.word.is_empty() || said.seq < known.high_seq || pushed && said.token != known.token
}

/// Rules on a hello. Marks of a former incarnation are void, so the histories are compared only within the present one.
pub fn ruling(greeting: Greeting) -> Ruling {
    let Greeting { here, unknown, history, spent, has_cursor, asked } = greeting;
    match () {
        () if here && history == History::CentreRewound || unknown => Ruling::Rewind,
        () if !here && spent => Ruling::Reidentify,
        () if !here => Ruling::Rejoin,
        () if history == History::EdgeRewound => Ruling::Reidentify,
        () if has_cursor && !asked => Ruling::GoOn,
        () => Ruling::Compare,
    }
}

/// Up to which of the centre's numbers its past is common with that of an edge that proves a rewind, at least: by what was
/// settled at their last checkpoints, that of the edge, `said`, and the one that the hub has given last under this id. Whichever
/// of the two is from after they parted has the higher one.
pub fn common_seq(known: u64, said: Option<u64>) -> u64 {
    said.map_or(known, |said| said.min(known))
}

/// Which writes of the former centre have to take another name, because a rewind let it use their numbers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The former centre.
    pub from: ReplicaId,
    /// Writes above this seq, which both histories share, are renamed.
    pub above: u64,
    /// Their new replica id.
    pub to: ReplicaId,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(count: u64, word: &str) -> Mark {
        Mark { count, word: word.to_owned() }
    }

    fn pair() -> (Said<u8>, Known<u8>) {
        let said = Said {
            seq: 9,
            token: mark(5, "five"),
            token_sealed: true,
            checkpoint: Some(mark(7, "seven")),
            ..Said::default()
        };
        let known = Known {
            high_seq: 9,
            token: mark(5, "five"),
            word_before: Some("four".to_owned()),
            last_batch: Some(1),
            checkpoint: mark(7, "seven"),
        };
        (said, known)
    }

    #[test]
    fn a_batch_is_taken_once_and_only_the_last_one_is_answered_again() {
        let (token, none) = (mark(5, "five"), mark(5, ""));
        let ruled = |said: Mark, same| admission(&said, &token, Some("four"), same);
        for same in [false, true] {
            assert_eq!(ruled(mark(5, "five"), same), Admission::Next);
            let others = [mark(5, "other"), mark(6, "six"), mark(4, "other"), mark(3, "four"), mark(u64::MAX, "four")];
            for said in others {
                assert_eq!(ruled(said.clone(), same), Admission::Stale, "{said:?}");
            }
            assert_eq!(
                admission(&none, &none, None, same),
                Admission::Stale,
                "nobody holds a token that was taken back"
            );
        }
        assert_eq!(ruled(mark(4, "four"), true), Admission::Repeated);
        assert_eq!(ruled(mark(4, "four"), false), Admission::Stale, "another batch under the token before");
        assert_eq!(admission(&mark(4, "four"), &token, None, true), Admission::Stale);
    }

    type Change = fn(&mut Said<u8>, &mut Known<u8>);

    #[test]
    fn who_comes_from_a_former_incarnation_goes_on_only_under_an_id_that_was_given_since_and_is_not_in_use() {
        let (mut said, mut known) = pair();
        let greeting = |spent| Greeting {
            here: false,
            unknown: false,
            history: History::Continues,
            spent,
            has_cursor: true,
            asked: false,
        };
        known.token = Mark::default();
        let ruled = |said: &Said<u8>, known: &Known<u8>| ruling(greeting(is_spent(said, known)));
        assert_eq!(ruled(&said, &known), Ruling::Reidentify, "what was known of its numbers may be lost");
        known.token = mark(6, "six");
        assert_eq!(ruled(&said, &known), Ruling::Reidentify, "the other one has pushed");
        known.last_batch = None;
        assert_eq!(ruled(&said, &known), Ruling::Rejoin, "an answer was lost");
        said.seq = 8;
        assert_eq!(ruled(&said, &known), Ruling::Reidentify, "numbers were used before");
    }

    #[test]
    fn a_checkpoint_that_the_centre_never_gave_is_of_another_history_and_an_older_one_is_not() {
        for (said, expected) in
            [(mark(6, "six"), false), (mark(7, "seven"), false), (mark(7, "other"), true), (mark(8, "eight"), true)]
        {
            assert_eq!(is_of_another_history(&said, &mark(7, "seven")), expected, "{said:?}");
        }
    }

    #[test]
    fn a_past_is_common_up_to_the_earlier_of_two_checkpoints() {
        assert_eq!([common_seq(14, Some(10)), common_seq(9, Some(10)), common_seq(14, None)], [10, 9, 14]);
    }

    #[test]
    fn each_way_in_which_two_histories_part_is_told_from_the_others() {
        let cases: [(&str, History, Change); 15] = [
            ("nothing happened", History::Continues, |_, _| {}),
            ("writes wait", History::Continues, |said, _| said.seq = 12),
            ("a page was lost", History::Continues, |_, known| known.checkpoint = mark(8, "eight")),
            ("an answer was lost", History::Continues, |said, _| {
                said.token = mark(4, "four");
                said.in_flight = Some(1);
            }),
            ("another batch is in flight", History::EdgeRewound, |said, _| {
                said.token = mark(4, "four");
                said.in_flight = Some(2);
            }),
            ("nothing is in flight", History::EdgeRewound, |said, _| said.token = mark(4, "four")),
            ("the token before the last two", History::EdgeRewound, |said, _| {
                said.token = mark(3, "three");
                said.in_flight = Some(1);
            }),
            ("a copy pushed as often", History::EdgeRewound, |said, _| said.token = mark(5, "other")),
            ("another checkpoint in its place", History::CentreRewound, |said, _| {
                said.checkpoint = Some(mark(7, "other"));
            }),
            ("numbers were used before", History::EdgeRewound, |said, _| said.seq = 8),
            ("it was sent its own unknown writes", History::EdgeRewound, |said, _| said.forked = true),
            ("a token ahead without a seal", History::EdgeRewound, |said, _| {
                said.token = mark(6, "six");
                said.token_sealed = false;
            }),
            ("a token ahead", History::CentreRewound, |said, _| said.token = mark(6, "six")),
            ("a checkpoint ahead", History::CentreRewound, |said, _| said.checkpoint = Some(mark(8, "eight"))),
            ("a cursor from the future", History::CentreRewound, |said, _| said.beyond = true),
        ];
        for (name, expected, change) in cases {
            let (mut said, mut known) = pair();
            change(&mut said, &mut known);
            assert_eq!(history(&said, &known), expected, "{name}");
        }
    }

    #[test]
    fn each_hello_comes_to_what_is_known_of_the_two_histories() {
        type Case = (&'static str, Ruling, fn(&mut Greeting));
        let cases: [Case; 13] = [
            ("one history continues the other", Ruling::GoOn, |_| {}),
            ("who is of the present incarnation is not asked whether its id is spent", Ruling::GoOn, |greeting| {
                greeting.spent = true;
            }),
            ("somebody wants a comparison", Ruling::Compare, |greeting| greeting.asked = true),
            ("it has pulled and has no cursor", Ruling::Compare, |greeting| greeting.has_cursor = false),
            ("both", Ruling::Compare, |greeting| (greeting.has_cursor, greeting.asked) = (false, true)),
            ("it went back", Ruling::Reidentify, |greeting| greeting.history = History::EdgeRewound),
            ("it went back and has no cursor", Ruling::Reidentify, |greeting| {
                (greeting.history, greeting.has_cursor) = (History::EdgeRewound, false);
            }),
            ("the centre went back", Ruling::Rewind, |greeting| greeting.history = History::CentreRewound),
            ("a cursor of an incarnation that never was here", Ruling::Rewind, |greeting| greeting.unknown = true),
            ("the same, and it is of no present one", Ruling::Rewind, |greeting| {
                (greeting.unknown, greeting.here) = (true, false);
            }),
            ("a former incarnation", Ruling::Rejoin, |greeting| greeting.here = false),
            ("marks of a former incarnation prove nothing", Ruling::Rejoin, |greeting| {
                (greeting.here, greeting.history) = (false, History::CentreRewound);
            }),
            ("an id that is not to be used any more", Ruling::Reidentify, |greeting| {
                (greeting.here, greeting.spent) = (false, true);
            }),
        ];
        for (name, expected, change) in cases {
            let mut greeting = Greeting {
                here: true,
                unknown: false,
                history: History::Continues,
                spent: false,
                has_cursor: true,
                asked: false,
            };
            change(&mut greeting);
            assert_eq!(ruling(greeting), expected, "{name}");
        }
    }
}
