//! An authority of a run's own, and a certificate of it for the run's address.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::place::Place;

/// The files, all as PEM.
pub(crate) struct Certificates {
    /// The authority.
    pub(crate) authority: PathBuf,
    /// The certificate that it gave.
    pub(crate) own: PathBuf,
    /// That certificate's private key.
    pub(crate) key: PathBuf,
    /// The certificate and its key in one file.
    pub(crate) both: PathBuf,
}

impl Certificates {
    /// Makes them in the folder `name` of `place`; nobody else trusts the authority.
    pub(crate) fn make(place: &Place, name: &str) -> io::Result<Self> {
        let dir = place.path(name);
        fs::create_dir_all(&dir)?;
        let host = place.address();
        // Linphone's library knows no addresses here, only names.
        let names = format!("subjectAltName=IP:{host},DNS:{host}\n");
        fs::write(dir.join("names"), names)?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        let steps = [
            format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
            format!("req {key} -subj /CN={host} -keyout key.pem -out request.pem"),
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -set_serial 2 -days 2 -extfile names \
             -out own.pem"
                .to_owned(),
        ];
        for step in steps {
            let mut openssl = Command::new("openssl");
            openssl.current_dir(&dir).args(step.split_whitespace());
            let output = openssl.output()?;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(format!("openssl {step}: {why}")));
            }
        }
        let [own, key] = ["own.pem", "key.pem"].map(|name| dir.join(name));
        let both = [fs::read(&own)?, fs::read(&key)?].concat();
        fs::write(dir.join("both.pem"), both)?;
        Ok(Self {
            authority: dir.join("ca.pem"),
            own,
            key,
            both: dir.join("both.pem"),
        })
    }

    /// What our own client is told, whether it answers or calls.
    pub(crate) fn options(&self) -> Vec<String> {
        let files = [
            ("--tls-ca", &self.authority),
            ("--tls-cert", &self.own),
            ("--tls-key", &self.key),
        ];
        files
            .into_iter()
            .flat_map(|(name, file)| [name.to_owned(), file.display().to_string()])
            .collect()
    }
}
