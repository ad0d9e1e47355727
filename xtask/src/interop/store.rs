//! Recordings on their way to a store that speaks as S3 does.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Case, Proof, S3 as S3RVER, SOON};
use crate::audio::speech::{Voice, say};
use crate::peer::own::{self, Own};
use crate::peer::place::Place;
use crate::peer::s3::{KEY, S3};
use crate::peer::scenario;
use crate::peer::sipp::{Options, Sipp};
use crate::peer::sluice::Sluice;

pub(super) const CASES: [Case; 1] = [Case {
    name: "store: a recording reaches S3 although both are killed on the way",
    needs: &["sipp", "node", "npm", S3RVER],
    run: uploaded,
}];

/// Bytes of a part, and of what passes before a program is killed: one part and the half of another.
const PART: u64 = 64 << 10;
const SOME: u64 = PART * 3 / 2;

/// Who records, and where to.
struct Desk<'a> {
    place: &'a Place,
    endpoint: String,
}

impl Desk<'_> {
    fn open(&self, name: &str, key: &str) -> io::Result<Own> {
        let calls = self.place.path("calls").display().to_string();
        let to = ["--record", &calls, "--upload", "s3://bank/branch-7"];
        let part = PART.to_string();
        let how = ["--upload-part", &part, "--after-upload", "remove"];
        let environment = [
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        Own::answer_with(self.place, name, &[to, how].concat(), &environment)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path("calls").join(name)
    }

    /// An error unless all that was recorded is still here.
    fn must_keep(&self, files: &[(&str, Vec<u8>)]) -> io::Result<()> {
        let is_here = |(name, bytes): &(&str, Vec<u8>)| {
            fs::read(self.file(name)).is_ok_and(|read| read == *bytes)
        };
        match files.iter().find(|file| !is_here(file)) {
            Some((name, _)) => Err(io::Error::other(format!("{name} is gone before its time"))),
            None => Ok(()),
        }
    }
}

fn uploaded(place: &Place) -> io::Result<Proof> {
    let (port, way) = (place.take(2), place.take(2));
    let store = S3::start(place, port)?;
    let sluice = Sluice::open(way, port)?;
    sluice.raise(u64::MAX);
    let endpoint = format!("http://127.0.0.1:{way}");
    let desk = Desk { place, endpoint };

    // Neither an absent bucket nor a wrong key lets go of a recording.
    let mut early = desk.open("early", KEY)?;
    let options = Options {
        target: Some(early.address()),
        service: Some("desk"),
        say: &say(Voice::Caller, 8.0),
        ..Options::default()
    };
    let mut caller = Sipp::spawn(place, "caller", &scenario::caller(8_000), &options)?;
    caller.finish(Duration::from_secs(30))?;
    early.expect("NoSuchBucket")?;
    early.kill()?;
    let names = ["call-1.wav", "call-1.wav.seal"];
    let read = |name| fs::read(desk.file(name)).map(|bytes| (name, bytes));
    let files = names
        .into_iter()
        .map(read)
        .collect::<io::Result<Vec<_>>>()?;
    let length = files
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .sum::<u64>();
    if length < 3 * PART {
        return Err(io::Error::other("the recording is too short"));
    }
    store.make("bank")?;
    let mut stranger = desk.open("stranger", "guessed")?;
    // s3rver looks at the key's name alone.
    stranger.expect("InvalidAccessKeyId")?;
    stranger.kill()?;
    desk.must_keep(&files)?;

    // The store is killed in the midst of a part: the desk tries again by itself.
    sluice.raise(SOME);
    let first = desk.open("first", KEY)?;
    sluice.fill(SOON)?;
    store.kill()?;
    desk.must_keep(&files)?;
    let store = S3::start(place, port)?;
    sluice.raise(SOME);
    sluice.fill(SOON)?;
    first.kill()?;
    desk.must_keep(&files)?;

    // The next one goes on where it was killed.
    let before = sluice.raise(u64::MAX);
    let mut second = desk.open("second", KEY)?;
    second.expect("uploaded branch-7/call-1.wav")?;
    let again = sluice.passed() - before;
    if again > length - PART {
        let text = format!("all was sent again: {again} bytes of {length}");
        return Err(io::Error::other(text));
    }
    second.stop()?;
    arrived(place, &store, &files)?;
    match names.iter().find(|name| desk.file(name).exists()) {
        Some(name) => Err(io::Error::other(format!("{name} is still here"))),
        None => Ok(Proof::none()),
    }
}

/// An error unless the store has what was recorded, byte for byte, and it verifies.
fn arrived(place: &Place, store: &S3, files: &[(&str, Vec<u8>)]) -> io::Result<()> {
    let copies = place.path("copies");
    fs::create_dir_all(&copies)?;
    for (name, bytes) in files {
        let object = store.object("bank", &format!("branch-7/{name}"))?;
        if object != *bytes {
            return Err(io::Error::other(format!("{name} is another in the store")));
        }
        fs::write(copies.join(name), object)?;
    }
    own::verify(&copies.join("call-1.wav")).map(drop)
}
