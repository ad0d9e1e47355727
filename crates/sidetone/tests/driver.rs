//! The real driver: engines on loopback sockets, how they start, end, and fail to start.
#![cfg(feature = "net")]

use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sidetone::call::cause::EndReason;
use sidetone::engine::config::{Config, Listener};
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::net::start::StartError;

fn config() -> Config {
    Config::on(Ipv4Addr::LOCALHOST.into()).sip_port(0)
}

async fn stay(call: Call) -> Result<(), CallError> {
    call.answer().await?;
    call.ended().await.map(drop)
}

#[tokio::test]
async fn a_hundred_calls_end_at_once_when_an_engine_stops() {
    let mut crowd = config();
    crowd.media_workers = 2;
    let callee = Engine::start(crowd).await.expect("an engine");
    let caller = Engine::start(config()).await.expect("an engine");
    let uri = format!("sip:x@{}", callee.listening()[0]);
    let serving = callee.clone();
    let serve = tokio::spawn(async move { serving.serve(stay).await });
    let dialled = (0..100).map(|_| tokio::spawn(caller.dial(&uri).into_future()));
    let mut calls = Vec::new();
    for dialled in dialled.collect::<Vec<_>>() {
        calls.push(dialled.await.expect("no panic").expect("an answer"));
    }
    assert_eq!((caller.call_count(), callee.call_count()), (100, 100));
    callee.shutdown(Duration::ZERO).await;
    serve.await.expect("no panic");
    for call in &calls {
        let end = call.ended().await.expect("an end");
        assert_eq!(end.reason, EndReason::RemoteHangup);
        assert_eq!(end.remote_cause.as_ref().map(|cause| cause.q850), Some(41));
    }
    let report = caller.report().await.expect("a report");
    assert_eq!((report.held.calls, report.held.legs), (0, 0));
    assert_eq!(report.held.free_ports, report.held.ports);
    assert_eq!(report.driver.faults, 0);
    assert!(matches!(
        callee.dial(&uri).await,
        Err(CallError::EngineStopped)
    ));
    drop(calls);
    caller.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn farewells_over_tcp_are_written_before_the_end() {
    for _ in 0..20 {
        let callee = Engine::start(config()).await.expect("an engine");
        let caller = Engine::start(config()).await.expect("an engine");
        let uri = format!("sip:x@{};transport=tcp", callee.listening()[1]);
        let serving = callee.clone();
        let serve = tokio::spawn(async move { serving.serve(stay).await });
        let call = caller.dial(&uri).await.expect("an answer");
        caller.shutdown(Duration::ZERO).await;
        // The callee has nothing left to do but to say 200 to the BYE.
        callee.shutdown(Duration::from_secs(1)).await;
        serve.await.expect("no panic");
        let end = call.ended().await.expect("an end");
        assert_eq!(end.reason, EndReason::Shutdown);
    }
}

#[tokio::test]
async fn an_engine_without_handles_stops_by_itself() {
    let engine = Engine::start(config()).await.expect("an engine");
    let address = engine.listening()[0];
    drop(engine);
    // Its sockets are free again soon after.
    let mut again = config();
    for listener in &mut again.listeners {
        listener.bind = address;
    }
    loop {
        match Engine::start(again.clone()).await {
            Ok(engine) => return engine.shutdown(Duration::ZERO).await,
            Err(StartError::Listen { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_engine_that_cannot_start_says_why() {
    let engine = Engine::start(config()).await.expect("an engine");
    let taken = engine.listening()[0];
    let mut second = config();
    second.listeners.push(Listener {
        bind: taken,
        ..second.listeners[0].clone()
    });
    let Err(StartError::Listen { address, .. }) = Engine::start(second).await else {
        panic!("the port is taken");
    };
    assert_eq!(address, taken);
    let mut broken = config();
    broken.codecs.clear();
    assert!(matches!(
        Engine::start(broken).await,
        Err(StartError::Config(_))
    ));
    engine.shutdown(Duration::ZERO).await;
}

#[test]
fn outside_of_a_runtime_an_engine_refuses_to_start() {
    let mut start = pin!(Engine::start(config()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(
        start.as_mut().poll(&mut context),
        Poll::Ready(Err(StartError::System(_)))
    ));
}
