//! Keys of zones in the configuration.

use super::decode_in;
use std::os::unix::fs::PermissionsExt;

const ZONE: &str = "[[zone]]\nname = \"example.com\"\nfile = \"example.com.zone\"\n";
const POOL: &str = "[[pool]]\nname = \"web\"\nnames = \"www.example.com\"\ncheck = { kind = \"tcp\", port = 443 }\n\
                    [[pool.endpoint]]\nname = \"a\"\naddress = \"192.0.2.1\"\n";
const KEY: &str = "Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n";

#[test]
fn keys_are_read_and_what_cannot_be_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str, mode: u32| {
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("one.private", KEY, 0o600);
    write("two.private", KEY, 0o400);
    write("open.private", KEY, 0o604);
    write("rsa.private", &KEY.replace("15 (ED25519)", "8 (RSASHA256)"), 0o600);
    write("one.key", "example.com. IN DNSKEY 256 3 15 AAAA\n", 0o600);
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    std::fs::set_permissions(folder.path().join("folder"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let of = |lines: &str| decode_in(folder.path(), &format!("{ZONE}{lines}\n{POOL}"));

    let config = of("signing-key = \"one.private\"").unwrap();
    let signing = config.zones[0].signing.as_deref().unwrap();
    assert_eq!(signing.validity_s, 604_800);
    let shown = format!("{config:?}");
    assert!(
        shown.contains("one.private") && !shown.contains("ODIyNjAz") && !shown.contains("56, 50"),
        "{shown}"
    );
    let config = of("signing-key = [\"one.private\", \"two.private\"]\nsignature-validity-s = 3600").unwrap();
    let signing = config.zones[0].signing.as_deref().unwrap();
    assert_eq!((signing.validity_s, signing.keys.len()), (3600, 2));

    for (lines, said) in [
        ("signing-key = 7", "signing-key must be a list of at most 8 texts"),
        ("signing-key = \"none.private\"", "none.private can't be read"),
        ("signing-key = \"open.private\"", "others may read or change"),
        ("signing-key = \"rsa.private\"", "its algorithm is 8"),
        ("signing-key = \"one.key\"", "it holds no private key as dnssec-keygen writes them"),
        ("signing-key = \"folder\"", "it holds no private key as dnssec-keygen writes them"),
        ("signing-key = [\"one.private\", \"one.private\"]", "one.private is there twice"),
        ("signature-validity-s = 3600", "and no `signing-key`"),
        ("signing-key = \"one.private\"\nsignature-validity-s = 9", "`signature-validity-s` is out of range"),
    ] {
        let errors = of(lines).unwrap_err().lines();
        assert!(
            errors.iter().any(|line| line.contains(said) && line.starts_with("node.toml:")),
            "{lines}: {errors:?}"
        );
    }
    // A cache would keep the answer for longer than anybody believes it.
    let errors = of("signing-key = \"one.private\"\nsignature-validity-s = 119").unwrap_err().lines();
    assert!(
        errors[0].contains("may be kept for 30 s, and signatures in example.com. are good for 119 s"),
        "{errors:?}"
    );
    assert!(of("signing-key = \"one.private\"\nsignature-validity-s = 120").is_ok());
}
