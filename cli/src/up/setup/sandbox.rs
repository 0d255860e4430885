//! The sandbox of `--sandbox`: RunBlob's API on this machine, which calls back this gate.

use super::{ENVOY_FILE, unprepared};
use crate::render::{self, RenderedFile};
use crate::setup::{ProviderEndpoint, Setup, SetupHost};
use crate::up::Error;
use crate::up::plan::{reachable, words};
use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The default of `blobgate sandbox`, so that a page can name it.
const USUAL_PORT: u16 = 9443;
const OWNER_ONLY: u32 = 0o600;

pub(super) struct PlannedSandbox {
    pub(super) address: SocketAddr,
    /// The file with the key of its clients, from the setup folder.
    pub(super) key_file: PathBuf,
}

impl PlannedSandbox {
    /// Writes the key that is in force into the folder `run`. Without a key in the setup, it makes one, and sets it in the
    /// setup: then the reconciler works too.
    pub(super) fn new(setup: &mut Setup) -> Result<Self, Error> {
        let key_file = setup.run.join("sandbox-key");
        let key = match setup.api_key()? {
            Some(key) => key.text().to_owned(),
            None => {
                setup.api_key_file = Some(key_file.clone());
                format!("sandbox-{}", Uuid::new_v4().simple())
            }
        };
        write(&setup.resolve(&key_file), &format!("{key}\n"))?;
        Ok(Self { address: address(setup)?, key_file })
    }

    /// Renders Envoy's configuration for the sandbox, beside the person's own. Returns its path from the setup folder.
    pub(super) fn write_envoy_file(&self, setup: &Setup) -> Result<PathBuf, Error> {
        let files = render::render(setup, &ProviderEndpoint::Sandbox(self.address))?;
        let text = files
            .iter()
            .find(|file| file.path == Path::new(ENVOY_FILE))
            .map(|file: &RenderedFile| &*file.text);
        let file = setup.run.join(ENVOY_FILE);
        write(&setup.resolve(&file), text.unwrap_or_default())?;
        Ok(file)
    }

    /// At this speed, a generation of two minutes takes two seconds.
    pub(super) fn arguments(&self, setup: &Setup) -> Vec<OsString> {
        let mut arguments = words(&format!("sandbox --listen {} --speed 60", self.address));
        for (option, file) in [
            ("--tls-cert", &setup.certificate),
            ("--tls-key", &setup.certificate_key),
            ("--callback-ca", &setup.certificate),
            ("--api-key-file", &self.key_file),
        ] {
            arguments.extend([option.into(), file.clone().into()]);
        }
        // The public name may lead elsewhere, or nowhere yet.
        if let SetupHost::Name(name) = &setup.host {
            arguments.extend(["--resolve".into(), format!("{name}={}", reachable(setup.listen)).into()]);
        }
        arguments
    }
}

/// The default of 13 minutes, at the sandbox's speed.
pub(super) fn inbox_arguments() -> Vec<OsString> {
    words("--reconcile-after 13s")
}

/// The usual port, if it is free, and else another one.
fn address(setup: &Setup) -> Result<SocketAddr, Error> {
    let is_own =
        |port: u16| setup.listen.port() == port || setup.ports.named().iter().any(|(_, own)| *own == port);
    let free = |port: u16| -> io::Result<SocketAddr> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()
    };
    if !is_own(USUAL_PORT)
        && let Ok(address) = free(USUAL_PORT)
    {
        return Ok(address);
    }
    loop {
        let address =
            free(0).map_err(|why| Error::Unprepared { place: "the sandbox".to_owned(), why: why.into() })?;
        if !is_own(address.port()) {
            return Ok(address);
        }
    }
}

/// Writes a file for its owner alone.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(OWNER_ONLY).open(path)?;
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
        file.write_all(text.as_bytes())
    };
    write().map_err(|why| unprepared(path, why))
}
