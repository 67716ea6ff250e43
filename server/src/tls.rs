//! TLS by rustls, with ring and nothing else: a certificate for those who come in, authorities for those whom we dial.

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{net::TcpStream, signal::unix::SignalKind};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Tls,
    error::{Error, ErrorKind, Result},
};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificate of a server, and how connections are accepted with it.
#[derive(Clone)]
pub(crate) struct ServerTls {
    certificate: Arc<Certificate>,
    acceptor: TlsAcceptor,
}

/// What the files said when they were read last.
#[derive(Debug)]
struct Certificate {
    files: Tls,
    current: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ServerTls")
            .field(&self.certificate.files)
            .finish()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]: one line with the file and what is wrong with it.
    pub(crate) fn open(files: &Tls) -> Result<Self> {
        let certificate = Arc::new(Certificate {
            files: files.clone(),
            current: RwLock::new(Arc::new(read(files)?)),
        });
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Internal, "TLS cannot be set up").because(error))?
            .with_no_client_auth()
            .with_cert_resolver(certificate.clone());
        Ok(Self {
            certificate,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Reads the files again, for connections from now on. What was read before stays if they are not right.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn reload(&self) -> Result<()> {
        let read = Arc::new(read(&self.certificate.files)?);
        *self.certificate.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// Reads the files again at each SIGHUP, until `stop`.
    pub(crate) async fn reload_when_told(self, stop: CancellationToken) {
        let mut hangups = match tokio::signal::unix::signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return tracing::warn!(%error, "certificates are not read again at SIGHUP"),
        };
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => match self.reload() {
                    Ok(()) => tracing::info!("the certificate was read again"),
                    Err(error) => tracing::error!(%error, "the certificate stays as it was"),
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Shakes hands on a new connection; none if that fails or takes longer than `within`.
    pub(crate) async fn accept(&self, stream: TcpStream, within: Duration) -> Option<TlsStream<TcpStream>> {
        match tokio::time::timeout(within, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS connection came about");
                None
            }
            Err(_) => {
                tracing::debug!("no TLS handshake came");
                None
            }
        }
    }
}

fn load(path: &Path, what: &str) -> Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| Error::configuration(format!("The {what} {} cannot be read", path.display())).because(error))
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let text = load(path, what)?;
    let wrong = || format!("The {what} {} holds no certificate in PEM", path.display());
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| Error::configuration(wrong()).because(error))?;
    if found.is_empty() {
        return Err(Error::configuration(wrong()));
    }
    Ok(found)
}

fn read(files: &Tls) -> Result<CertifiedKey> {
    let chain = certificates(&files.certificate, "TLS certificate")?;
    let name = files.key.display();
    let key = PrivateKeyDer::from_pem_slice(&load(&files.key, "TLS key")?).map_err(|error| {
        Error::configuration(format!("The TLS key {name} holds no private key in PEM")).because(error)
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let certificate = files.certificate.display();
        Error::configuration(format!("The TLS key {name} does not fit the certificate {certificate}")).because(error)
    })
}

/// How to dial with TLS: who vouches for routers is in the PEM file `roots`, or are those whom browsers trust.
pub(crate) fn connector(roots: Option<&Path>) -> Result<TlsConnector> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for root in certificates(path, "file of authorities")? {
                let refused =
                    |error| Error::configuration(format!("{} vouches for nobody", path.display())).because(error);
                store.add(root).map_err(refused)?;
            }
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "TLS cannot be set up").because(error))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name that a router has to prove.
pub(crate) fn server_name(host: &url::Host<&str>) -> Result<ServerName<'static>> {
    match host {
        url::Host::Domain(name) => ServerName::try_from((*name).to_owned())
            .map_err(|error| Error::configuration(format!("{name:?} cannot be the name of a server")).because(error)),
        url::Host::Ipv4(address) => Ok(ServerName::IpAddress(std::net::IpAddr::V4(*address).into())),
        url::Host::Ipv6(address) => Ok(ServerName::IpAddress(std::net::IpAddr::V6(*address).into())),
    }
}
