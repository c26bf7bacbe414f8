//! Authorities and certificates, made with OpenSSL's commands.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::tools;

/// Runs `openssl` in a folder; what it says.
pub fn openssl(folder: &Path, arguments: &str) -> Result<Vec<u8>> {
    let mut command = Command::new(tools::program("openssl")?);
    let output = command.args(arguments.split_whitespace()).current_dir(folder).output()?;
    ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// Makes an authority `NAME.pem` with its key `NAME.key`.
pub fn authority(folder: &Path, name: &str) -> Result<()> {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={name} -keyout {name}.key \
             -out {name}.pem"
        ),
    )?;
    Ok(())
}

/// Makes a certificate `NAME.pem` with its key `NAME.key`, signed by an authority, for these subjects (as `DNS:a.example,IP:192.0.2.1`)
/// and this many days, which have passed if they are negative; its pin.
pub fn certificate(folder: &Path, name: &str, authority: &str, subjects: &str, days: i32) -> Result<String> {
    std::fs::write(folder.join(format!("{name}.names")), format!("subjectAltName={subjects}"))?;
    openssl(
        folder,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=own -keyout {name}.key -out {name}.csr"
        ),
    )?;
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days {days} -extfile \
             {name}.names -out {name}.pem"
        ),
    )?;
    openssl(folder, &format!("x509 -in {name}.pem -pubkey -noout -out {name}.pub"))?;
    openssl(folder, &format!("pkey -pubin -in {name}.pub -outform der -out {name}.der"))?;
    openssl(folder, &format!("dgst -sha256 -binary -out {name}.digest {name}.der"))?;
    let pin = openssl(folder, &format!("base64 -in {name}.digest"))?;
    Ok(String::from_utf8(pin)?.trim().to_owned())
}
