//! What rows of one push may be only together: constraints are deferred while a unit is written, and checked at its end.
//!
//! Halving and trying again would bring most of it about without deferring anything, a row at a time. So the first test
//! counts the statements, with a sequence that no rollback takes back, and the second has a rule that no single row keeps.

use serde_json::json;

use super::pair;
use super::site::{ACME, HEADQUARTERS, NOW, Site, id, settle};

#[tokio::test]
async fn serial_numbers_change_hands_among_the_living_at_the_first_attempt() {
    let (centre, mut left, mut right) = pair().await;
    for (number, serial) in [(100, "A"), (101, "B"), (102, "C"), (103, "D")] {
        left.device(id(number), HEADQUARTERS, Some(serial));
    }
    left.push().await;
    centre
        .execute(
            "create sequence attempts;
        create function count_attempts() returns trigger language plpgsql security definer set search_path = public as
          $$ begin perform nextval('attempts'); return null; end $$;
        create trigger count_attempts before insert or update or delete on devices
          for each statement execute function count_attempts()",
        )
        .await;
    // Two swap, and a new one takes what a living one gives up: each write alone would meet a number that is taken.
    left.write("devices", id(100), json!({"serial_number": "B"}));
    left.write("devices", id(101), json!({"serial_number": "A"}));
    left.write("devices", id(102), json!({"serial_number": "E"}));
    left.device(id(99), HEADQUARTERS, Some("C"));
    let outcomes = left.push().await;
    assert!(outcomes.values().all(|outcome| outcome == "accepted"), "{outcomes:?}");
    assert_eq!(centre.value("select string_agg(serial_number, '' order by id) from devices").await, "CBAED");
    assert_eq!(centre.value("select last_value from attempts").await, "2", "one insert and one update");
    // A delete of what others may refer to comes last, so the one that takes its number is tried again after it.
    left.delete("devices", id(103));
    left.device(id(98), HEADQUARTERS, Some("D"));
    let outcomes = left.push().await;
    assert!(outcomes.values().all(|outcome| outcome == "accepted"), "{outcomes:?}");
    assert_eq!(centre.value("select string_agg(serial_number, '' order by id) from devices").await, "DCBAE");
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_rule_that_no_row_keeps_alone_is_checked_at_the_end_and_stops_only_what_breaks_it() {
    for when in ["immediate", "deferred"] {
        let (centre, mut left, mut right) = pair().await;
        centre
            .execute(&format!(
                "create function site_has_a_device() returns trigger language plpgsql as
              $$ begin
                if not exists (select from public.devices where site_id = new.id) then
                  raise exception 'a site has a device';
                end if;
                return null;
              end $$;
            create constraint trigger site_has_a_device after insert on sites deferrable initially {when}
              for each row execute function site_has_a_device()"
            ))
            .await;
        site(&mut left, 100);
        left.device(id(101), id(100), None);
        let outcomes = left.push().await;
        assert_eq!((outcomes[&id(100)].as_str(), outcomes[&id(101)].as_str()), ("accepted", "accepted"), "{when}");
        site(&mut left, 102);
        left.task(id(103), "fine");
        let outcomes = left.push().await;
        let expected = ("quarantined refused", "accepted");
        assert_eq!((outcomes[&id(102)].as_str(), outcomes[&id(103)].as_str()), expected, "{when}");
        let reason = "select reason from sync.quarantine where status = 'open'";
        assert_eq!(centre.value(reason).await, "a site has a device");
        left.device(id(104), id(102), None);
        assert_eq!(left.push().await[&id(102)], "accepted", "{when}: with its device");
        settle(&centre, &mut [&mut left, &mut right]).await;
    }
}

fn site(left: &mut Site, number: u128) {
    left.write(
        "sites",
        id(number),
        json!({"tenant_id": ACME, "name": "branch", "address": null, "latitude": null, "longitude": null,
            "timezone": "UTC", "created_at": NOW, "updated_at": NOW}),
    );
}
