//! How often the SIP wire layer allocates, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use bytes::Bytes;
use sidetone::sip::message::Message;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local
// integer that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, which is passed on.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, which is passed on.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(run: impl FnOnce() -> T) -> usize {
    let before = COUNT.get();
    black_box(run());
    COUNT.get() - before
}

fn read(bytes: Bytes) -> usize {
    let message = Message::parse(bytes).expect("a message");
    let from = message.from().expect("From");
    let to = message.to().expect("To");
    let via = message.top_via().expect("Via");
    let cseq = message.cseq().expect("CSeq");
    let contact = message.contact().expect("Contact");
    let lengths = [
        from.tag(),
        to.uri().user(),
        via.branch(),
        contact.uri().user(),
    ];
    message.call_id().expect("Call-ID").len()
        + cseq.number() as usize
        + lengths
            .iter()
            .flatten()
            .map(|text| text.len())
            .sum::<usize>()
}

const INVITE: &str = "INVITE sip:bob@biloxi.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP proxy.example;branch=z9hG4bK1\r\n\
    Via: SIP/2.0/UDP pc33.example:5066;branch=z9hG4bK2;rport=5066;received=192.0.2.103\r\n\
    Max-Forwards: 69\r\n\
    Record-Route: <sip:proxy.example;lr>\r\n\
    To: Bob <sip:bob@biloxi.example>\r\n\
    From: \"Alice Liddell\" <sip:alice@atlanta.example>;tag=9fxced76sl\r\n\
    Call-ID: 3848276298220188511@atlanta.example\r\n\
    CSeq: 314159 INVITE\r\n\
    Contact: <sip:alice@pc33.atlanta.example:5066;transport=udp>\r\n\
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE\r\n\
    Content-Length: 4\r\n\r\nv=0\n";

#[test]
fn parsing_and_reading_a_datagram_allocates_at_most_twice() {
    let text = INVITE.as_bytes();
    // One for the datagram's own buffer, one to share it between values.
    assert!(allocations(|| read(Bytes::from(text.to_vec()))) <= 2);
    let shared = Bytes::from_static(text);
    assert_eq!(allocations(|| read(shared.clone())), 0);
    assert_eq!(allocations(|| Message::parse(shared.clone())), 0);
}

#[test]
fn many_header_fields_cost_one_allocation_more() {
    let rows: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let text = format!("OPTIONS sip:a SIP/2.0\r\n{rows}\r\n");
    let shared = Bytes::from(text.into_bytes());
    let held = shared.clone();
    assert_eq!(allocations(|| Message::parse(shared)), 1);
    drop(held);
}
