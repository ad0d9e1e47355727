//! Tests of the RTP peer against itself.

use super::*;
use crate::network::link::{Link, Loss};
use crate::sim::Sim;

fn pair(sim: &Sim, link: Link) -> (RtpPeer, RtpPeer) {
    for host in ["a", "b"] {
        sim.network().add_host(host, &[]).expect("a host");
    }
    sim.network().set_default_link(link);
    let [a, b] =
        ["a", "b"].map(|host| RtpPeer::open(sim, host, Habits::default()).expect("two ports"));
    a.start(Outlet::to(b.address()));
    b.start(Outlet::to(a.address()));
    (a, b)
}

#[test]
fn speech_arrives_after_the_delay_of_the_link() {
    let sim = Sim::new(1);
    let delay = Duration::from_millis(35);
    let (a, b) = pair(&sim, Link::delay(delay));
    let speech = Sound::speech(1, Duration::from_secs(2));
    let (sent, heard) = sim.block_on(async {
        sim.sleep(Duration::from_millis(500)).await;
        let speaking = sim.spawn({
            let (a, speech) = (a.clone(), speech.clone());
            async move { a.speak(&speech).await }
        });
        let heard = b.hear_for(Duration::from_secs(3)).await;
        (speaking.await, heard)
    });
    let found = heard.find(&speech).expect("it was heard");
    assert!(found.likeness > 0.99, "{found:?}");
    assert_eq!(found.arrived - sent, delay);
    assert_eq!(b.statistics().lost, 0);
}

#[test]
fn loss_copies_and_disorder_are_counted() {
    let sim = Sim::new(5);
    let link = Link::default()
        .loss(Loss::Random(0.1))
        .duplicate(0.05)
        .reorder(0.05, Duration::from_millis(50));
    let (_a, b) = pair(&sim, link);
    sim.run_for(Duration::from_secs(100));
    let statistics = b.statistics();
    assert!((400..600).contains(&statistics.lost), "{statistics:?}");
    assert!(
        (150..350).contains(&statistics.duplicates),
        "{statistics:?}"
    );
    assert!((150..350).contains(&statistics.reordered), "{statistics:?}");
    assert_eq!(statistics.streams, 1);
}

#[test]
fn digits_arrive_once_each_with_their_length_despite_loss() {
    let sim = Sim::new(9);
    let link = Link::default().loss(Loss::Random(0.1)).duplicate(0.1);
    let (a, b) = pair(&sim, link);
    sim.block_on(async {
        a.press("0123456789*#AbCD").await;
        sim.sleep(Duration::from_secs(1)).await;
    });
    let digits = b.digits();
    let text: String = digits.iter().map(|digit| digit.digit).collect();
    assert_eq!(text, "0123456789*#ABCD");
    let length = Duration::from_millis(100);
    assert!(digits.iter().all(|digit| digit.duration == length));
}

#[test]
fn a_fast_clock_sends_more_packets() {
    let sim = Sim::new(1);
    let (a, b) = pair(&sim, Link::default());
    a.set_habits(|habits| habits.drift_ppm = 1000);
    sim.run_for(Duration::from_secs(1000));
    let (fast, true_clock) = (a.statistics().sent, b.statistics().sent);
    assert!((50_000..50_003).contains(&true_clock), "{true_clock}");
    assert!((50_049..50_053).contains(&fast), "{fast}");
}

#[test]
fn a_dead_peer_is_silent_and_a_closed_one_says_goodbye() {
    let sim = Sim::new(1);
    let (a, b) = pair(&sim, Link::default());
    sim.run_for(Duration::from_secs(6));
    assert!(b.statistics().reports > 0);
    a.mute();
    sim.run_for(Duration::from_secs(1));
    let received = b.statistics().received;
    sim.run_for(Duration::from_secs(10));
    assert_eq!(b.statistics().received, received);
    assert!(!b.statistics().goodbye);
    a.start(Outlet::to(b.address()));
    a.close();
    sim.run_for(Duration::from_secs(1));
    assert!(b.statistics().goodbye);
}
