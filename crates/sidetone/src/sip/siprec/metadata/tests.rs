//! Metadata as the RFC, its drafts and nobody in his right mind write them.

use super::*;

/// After the example of RFC 7865 §8.1.
const COMPLETE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns='urn:ietf:params:xml:ns:recording:1'>
  <datamode>complete</datamode>
  <group group_id="7+OTCyoxTmqmqyA/1weDAg==">
    <associate-time>2010-12-16T23:41:07Z</associate-time>
  </group>
  <session session_id="hVpd7YQgRW2nD22h7q60JQ==">
    <sipSessionID>ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2</sipSessionID>
    <group-ref>7+OTCyoxTmqmqyA/1weDAg==</group-ref>
  </session>
  <participant participant_id="srfBElmCRp2QB23b7Mpk0w==">
    <nameID aor="sip:bob@biloxi.com"><name xml:lang="it">Bob</name></nameID>
  </participant>
  <participant participant_id="zSfPoSvdSDCmU3A3TRDxAw==">
    <nameID aor="sip:Paul@biloxi.com"><name xml:lang="it">Paul</name></nameID>
  </participant>
  <stream stream_id="UAAMm5GRQKSCMVvLyl4rFw==" session_id="hVpd7YQgRW2nD22h7q60JQ==">
    <label>96</label>
  </stream>
  <stream stream_id="i1Pz3to5hGk8fuXl+PbwCw==" session_id="hVpd7YQgRW2nD22h7q60JQ==">
    <label>98</label>
  </stream>
  <sessionrecordingassoc session_id="hVpd7YQgRW2nD22h7q60JQ==">
    <associate-time>2010-12-16T23:41:07Z</associate-time>
  </sessionrecordingassoc>
  <participantsessionassoc participant_id="srfBElmCRp2QB23b7Mpk0w==" session_id="hVpd7YQgRW2nD22h7q60JQ==">
    <associate-time>2010-12-16T23:41:07Z</associate-time>
  </participantsessionassoc>
  <participantstreamassoc participant_id="srfBElmCRp2QB23b7Mpk0w==">
    <send>UAAMm5GRQKSCMVvLyl4rFw==</send>
    <recv>i1Pz3to5hGk8fuXl+PbwCw==</recv>
  </participantstreamassoc>
  <participantstreamassoc participant_id="zSfPoSvdSDCmU3A3TRDxAw==">
    <send>i1Pz3to5hGk8fuXl+PbwCw==</send>
  </participantstreamassoc>
</recording>"#;

fn name<'a>(metadata: &'a Metadata, label: &str) -> Option<&'a str> {
    metadata.speaker(label).and_then(Participant::shown)
}

#[test]
fn a_complete_document_tells_who_speaks_and_is_printed_back() {
    let metadata = Metadata::parse(COMPLETE.as_bytes()).unwrap();
    assert_eq!(name(&metadata, "96"), Some("Bob"));
    assert_eq!(name(&metadata, "98"), Some("Paul"));
    assert_eq!(name(&metadata, "97"), None);
    assert_eq!(metadata.sessions[0].sip_session_ids.len(), 1);
    assert_eq!(metadata.flows[0].receives, ["i1Pz3to5hGk8fuXl+PbwCw=="]);
    let again = Metadata::parse(metadata.to_xml().as_bytes()).unwrap();
    assert_eq!(again, metadata);
}

#[test]
fn a_partial_document_changes_what_it_names() {
    let mut metadata = Metadata::parse(COMPLETE.as_bytes()).unwrap();
    let partial = r#"<recording xmlns='urn:ietf:params:xml:ns:recording:1'>
      <datamode>partial</datamode>
      <participant participant_id="new">
        <nameID aor="sip:carol@biloxi.com"/>
      </participant>
      <participantstreamassoc participant_id="zSfPoSvdSDCmU3A3TRDxAw==">
        <send>i1Pz3to5hGk8fuXl+PbwCw==</send>
        <disassociate-time>2010-12-16T23:42:07Z</disassociate-time>
      </participantstreamassoc>
      <participantstreamassoc participant_id="new">
        <send>i1Pz3to5hGk8fuXl+PbwCw==</send>
      </participantstreamassoc>
    </recording>"#;
    metadata.update(Metadata::parse(partial.as_bytes()).unwrap());
    assert_eq!(name(&metadata, "96"), Some("Bob"));
    assert_eq!(name(&metadata, "98"), Some("sip:carol@biloxi.com"));
    assert_eq!(metadata.participants.len(), 3);
}

#[test]
fn drafts_before_the_rfc_are_understood() {
    let draft = "<recording xmlns='urn:ietf:params:xml:ns:recording'><dataMode>complete</dataMode>\
        <session id='s'/><participant id='p' session='s'><aor>sip:sipp@192.0.2.40</aor>\
        <name>sipp </name><send>t</send></participant>\
        <stream id='t' session='s'><label>1</label></stream></recording>";
    let metadata = Metadata::parse(draft.as_bytes()).unwrap();
    assert_eq!(name(&metadata, "1"), Some("sipp"));
    assert_eq!(metadata.streams[0].session.as_deref(), Some("s"));
}

#[test]
fn what_is_none_is_refused_and_what_is_too_much_left_out() {
    for text in ["", "<x/>", "<recording>", "<!DOCTYPE a><recording/>"] {
        assert!(Metadata::parse(text.as_bytes()).is_err(), "{text}");
    }
    let many: String = (0..200)
        .map(|n| format!("<participant participant_id='{n}'/>"))
        .collect();
    let long = "x".repeat(MAX_TEXT + 1);
    let text = format!("<recording>{many}<stream stream_id='{long}'/></recording>");
    let metadata = Metadata::parse(text.as_bytes()).unwrap();
    assert_eq!(metadata.participants.len(), MAX_ITEMS);
    assert!(metadata.streams.is_empty());
    let mut grown = metadata.clone();
    grown.update(Metadata {
        mode: DataMode::Partial,
        participants: vec![Participant::new("more", "sip:x", None)],
        ..Metadata::default()
    });
    assert_eq!(grown.participants.len(), MAX_ITEMS);
}

#[test]
fn spans_are_dates_of_xml() {
    let wall = WallTime::from_unix_nanos(1_292_542_867_000_000_000);
    let span = Span::since(wall);
    assert_eq!(span.from.as_deref(), Some("2010-12-16T23:41:07Z"));
    assert!(span.ended(wall).is_over());
}
