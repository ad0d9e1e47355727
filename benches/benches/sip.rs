//! SIP wire costs: parse, typed header fields, URI, print, answer.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use sidetone::sip::message::Message;
use sidetone::sip::message::build::ResponseBuilder;
use sidetone::sip::status::StatusCode;
use sidetone::sip::uri::Uri;
use sidetone_benches::{INVITE_1047, OPTIONS_SMALL, call_flow, invite_1336};

/// Reads what every proxy and user agent reads of a message.
fn read_typed(message: &Message) -> usize {
    let from = message.from().expect("From");
    let to = message.to().expect("To");
    let via = message.top_via().expect("Via");
    let cseq = message.cseq().expect("CSeq");
    let contact = message.contact().expect("Contact");
    let call_id = message.call_id().expect("Call-ID");
    from.tag().map_or(0, str::len)
        + to.uri().host().len()
        + via.branch().map_or(0, str::len)
        + cseq.number() as usize
        + contact.uri().host().len()
        + call_id.len()
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip/parse");
    for (name, text) in [("options", OPTIONS_SMALL), ("invite_1047", INVITE_1047)] {
        let bytes = Bytes::from_static(text.as_bytes());
        // As a datagram comes: in a buffer of its own that the message shares.
        let shared = Bytes::from(text.as_bytes().to_vec());
        let held = shared.clone();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Message::parse(black_box(held.clone())).expect("a message"));
        });
        group.bench_function(format!("{name}_typed"), |bencher| {
            bencher.iter(|| {
                let message = Message::parse(black_box(shared.clone())).expect("a message");
                read_typed(&message)
            });
        });
        group.bench_function(format!("{name}_copied_typed"), |bencher| {
            bencher.iter(|| {
                let bytes = Bytes::copy_from_slice(black_box(text.as_bytes()));
                let message = Message::parse(bytes).expect("a message");
                read_typed(&message)
            });
        });
        group.bench_function(format!("{name}_validated"), |bencher| {
            bencher.iter(|| {
                let message = Message::parse(black_box(bytes.clone())).expect("a message");
                message.validate().expect("a valid message");
                message
            });
        });
    }
    group.finish();
}

/// What a stack reads of every message, with headers typed.
fn read_every(message: &Message) -> usize {
    let from = message.from().expect("From");
    let to = message.to().expect("To");
    let via = message.top_via().expect("Via");
    let cseq = message.cseq().expect("CSeq");
    let call_id = message.call_id().expect("Call-ID");
    from.tag().map_or(0, str::len)
        + to.tag().map_or(0, str::len)
        + via.branch().map_or(0, str::len)
        + cseq.number() as usize
        + call_id.len()
}

/// The seven messages of one call, a message's average; and the INVITE of a trunk.
fn flow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip/flow");
    let flow = call_flow();
    let flow: Vec<Bytes> = flow.into_iter().map(Bytes::from).collect();
    let mut turn = flow.iter().cycle();
    let mut next = || turn.next().expect("endless").clone();
    group.bench_function("parse_typed", |bencher| {
        bencher.iter(|| {
            let message = Message::parse(black_box(next())).expect("a message");
            read_every(&message)
        });
    });
    group.bench_function("parse_print", |bencher| {
        bencher.iter(|| {
            let message = Message::parse(black_box(next())).expect("a message");
            message.print()
        });
    });
    let trunk = Bytes::from(invite_1336());
    group.bench_function("invite_1336_five_headers", |bencher| {
        bencher.iter(|| {
            let message = Message::parse(black_box(trunk.clone())).expect("a message");
            read_every(&message)
        });
    });
    group.finish();
}

fn print(criterion: &mut Criterion) {
    let message = Message::parse(Bytes::from_static(INVITE_1047.as_bytes())).expect("a message");
    let source = "192.0.2.1:5060".parse().expect("an address");
    let mut group = criterion.benchmark_group("sip/print");
    group.bench_function("invite_1047", |bencher| {
        bencher.iter(|| black_box(&message).print())
    });
    group.bench_function("answer_180", |bencher| {
        bencher.iter(|| {
            ResponseBuilder::for_request(black_box(&message), StatusCode::RINGING)
                .source(source)
                .to_tag("b1")
                .build()
                .expect("a response")
        });
    });
    group.finish();
}

fn uri(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip/uri");
    let texts = [
        ("short", "sip:bob@biloxi.example"),
        (
            "long",
            "sip:+1-212-555-1212:1234@gateway.example.com:5061;user=phone;transport=tcp;lr",
        ),
        ("ipv6", "sips:alice@[2001:db8::10]:5071;transport=tls"),
    ];
    for (name, text) in texts {
        let bytes = Bytes::from_static(text.as_bytes());
        group.bench_function(name, |bencher| {
            bencher.iter(|| Uri::from_bytes(black_box(bytes.clone())).expect("a URI"));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    flow(&mut criterion);
    print(&mut criterion);
    uri(&mut criterion);
    criterion.final_summary();
}
