//! TLS with endpoints: whether one shows who it is, and for how long its certificate says so.

use super::{Fault, Visit, shown};
use crate::certificate::{self, not_after};
use crate::config::EndpointTls;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The seconds of a day.
const DAY_S: i64 = 86_400;
/// The ALPN token of HTTP/2.
const HTTP_2: &[u8] = b"h2";

/// Has the endpoint show who it is, and agree upon the protocol, where there is one.
pub(super) async fn shake_hands(
    visit: &Visit<'_>,
    stream: TcpStream,
    tls: &EndpointTls,
) -> Result<TlsStream<TcpStream>, Fault> {
    visit.await_now("no TLS handshake");
    let name = tls.server_name(visit.at.ip());
    let client = tls.client();
    let wanted = client.alpn_protocols.first().cloned();
    let stream = TlsConnector::from(client)
        .connect(name.clone(), stream)
        .await
        .map_err(|error| Fault::Bad(refusal(&error, &name)))?;
    let (_, session) = stream.get_ref();
    if let Some(days) = tls.valid_days {
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let until = certificate.and_then(|certificate| not_after(certificate));
        let until = until.ok_or_else(|| Fault::Bad("its certificate can't be read".to_owned()))?;
        remaining(until, days).map_err(Fault::Bad)?;
    }
    // RFC 9113 §3.2: HTTP/2 has to be agreed upon; HTTP/1.1 is what is spoken where nothing is.
    if wanted.is_some_and(|wanted| wanted == HTTP_2) && session.alpn_protocol() != Some(HTTP_2) {
        return Err(Fault::Bad("it has not agreed to speak HTTP/2 (the ALPN token `h2`)".to_owned()));
    }
    Ok(stream)
}

/// Whether a certificate that is valid until then is so for as many days, and what is wrong if it isn't.
fn remaining(until: i64, days: u32) -> Result<(), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64); // 292 billion years
    if until >= now.saturating_add(i64::from(days) * DAY_S) {
        return Ok(());
    }
    let at = certificate::shown(until);
    if until < now {
        return Err(format!("its certificate has expired, at {at}: renew it"));
    }
    Err(format!("its certificate expires at {at}, in less than {days} days: renew it"))
}

/// Why there was no handshake.
fn refusal(error: &io::Error, name: &ServerName<'_>) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let why = match inner {
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => {
            return "its certificate has expired: renew it".to_owned();
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => return format!("its certificate is not for {}: set `server-name`, or mend it", name.to_str()),
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            return "its certificate is from nobody whom `ca-file`, or the system, trusts (UnknownIssuer)"
                .to_owned();
        }
        // Its own words for what the library's would say at length.
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => other.to_string(),
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            "it does not speak the protocol that was asked for (ALPN)".to_owned()
        }
        Some(error) => error.to_string(),
        None => error.to_string(),
    };
    format!("no TLS handshake: {}", shown(&why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    #[test]
    fn a_certificate_has_to_be_valid_for_as_long_as_is_said() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        assert_eq!(remaining(now + 10 * DAY_S + 60, 10), Ok(()));
        let said = remaining(now + 10 * DAY_S - 60, 10).unwrap_err();
        assert!(said.contains("in less than 10 days"), "{said}");
        let said = remaining(now - 60, 0).unwrap_err();
        assert!(said.contains("has expired"), "{said}");
    }
}
