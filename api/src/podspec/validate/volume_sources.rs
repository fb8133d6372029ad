//! The rules for every source that a volume can have, in one table.

use std::collections::HashSet;

use super::downward::{FILE_FIELDS, field_ref, resource_ref};
use super::paths::{absolute, descending_path, local_path, no_backsteps};
use crate::field::{Errors, Field};
use crate::internal;
use crate::names;
use crate::quantity::Quantity;
use crate::selector;
use crate::validate::claim;
use crate::validate::rules::{Rule, Rule::*, check};

/// One source.
pub struct Source {
    /// The field of the volume.
    pub field: &'static str,
    /// How upstream spells it when it is one too many, where that differs.
    pub when_refused: Option<&'static str>,
    /// How upstream spells it in the paths of its rules, where that differs.
    pub in_rules: Option<&'static str>,
    /// Its rules.
    pub rules: &'static [(&'static str, Rule)],
}

const fn source(field: &'static str, rules: &'static [(&'static str, Rule)]) -> Source {
    Source { field, when_refused: None, in_rules: None, rules }
}

const MODE: Rule = Is(mode);
const SECRET: (&str, Rule) = ("*secretRef", Is(|secret, errors| check(secret, &[("name", Needed)], errors)));
const PARTITION: (&str, Rule) = ("partition", Is(partition));

/// Every source, in the order in which upstream looks for them. Rules under an empty name are for the source as a
/// whole.
pub const SOURCES: &[Source] = &[
    source("emptyDir", &[("sizeLimit", Is(size_limit))]),
    source("hostPath", &[("", Is(host_path))]),
    source("gitRepo", &[("repository", Needed), ("directory", Is(descending_path))]),
    Source {
        in_rules: Some("persistentDisk"),
        ..source("gcePersistentDisk", &[("pdName", Needed), PARTITION])
    },
    source("awsElasticBlockStore", &[("volumeID", Needed), PARTITION]),
    source("secret", &[("secretName", Needed), ("defaultMode", MODE), ("items[]", Is(key_to_path))]),
    source("nfs", &[("server path", Needed), ("path", Is(absolute))]),
    source("iscsi", &[("", Is(iscsi))]),
    source("glusterfs", &[("endpoints path", Needed)]),
    source("flocker", &[("", Is(flocker))]),
    source("persistentVolumeClaim", &[("claimName", Needed)]),
    source("rbd", &[("monitors image", Needed)]),
    source("cinder", &[("volumeID", Needed), SECRET]),
    Source { when_refused: Some("cephFS"), ..source("cephfs", &[("monitors", Needed)]) },
    source("quobyte", &[("", Is(quobyte)), ("volume", Needed)]),
    Source {
        when_refused: Some("downwarAPI"),
        ..source("downwardAPI", &[("defaultMode", MODE), ("", Is(downward))])
    },
    source("fc", &[("", Is(fibre_channel))]),
    source("flexVolume", &[("driver", Needed), ("options", Is(flex_options))]),
    source("configMap", &[("name", Needed), ("defaultMode", MODE), ("items[]", Is(key_to_path))]),
    source("azureFile", &[("secretName shareName", Needed)]),
    source("vsphereVolume", &[("volumePath", Needed)]),
    source("photonPersistentDisk", &[("pdID", Needed)]),
    source("portworxVolume", &[("volumeID", Needed)]),
    source(
        "azureDisk",
        &[
            ("diskName diskURI", Needed),
            ("*cachingMode", OneOf("None ReadOnly ReadWrite")),
            ("*kind", OneOf("Dedicated Managed Shared")),
            ("", Is(azure_uri)),
        ],
    ),
    source(
        "storageos",
        &[("volumeName", NeededName(names::dns_label)), ("volumeNamespace?", Name(names::dns_label)), SECRET],
    ),
    source("projected", &[("defaultMode", MODE), ("", Is(projected))]),
    source("scaleIO", &[("gateway system volumeName", Needed)]),
    source("csi", &[("driver", Is(csi_driver)), ("nodePublishSecretRef", Is(csi_secret))]),
    source(
        "ephemeral",
        &[("volumeClaimTemplate", Needed), ("*volumeClaimTemplate", Is(claim::validate_claim_template))],
    ),
    source("image", &[("reference", Needed), ("*pullPolicy", OneOf("Always IfNotPresent Never"))]),
];

impl Source {
    /// Looks at a source of this sort.
    pub fn check(&self, source: &Field, errors: &mut Errors) {
        for row in self.rules {
            match row {
                ("", rule) => rule.check(source, errors),
                row => check(source, &[*row], errors),
            }
        }
    }
}

/// Permissions of files.
fn mode(mode: &Field, errors: &mut Errors) {
    if mode.value.as_i64().is_some_and(|number| !(0..=0o777).contains(&number)) {
        errors.wrong(mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn size_limit(limit: &Field, errors: &mut Errors) {
    if Quantity::from_json(limit.value).is_some_and(|limit| limit.is_negative()) {
        errors.forbidden(limit, "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(source: &Field, errors: &mut Errors) {
    const TYPES: &str = " BlockDevice CharDevice Directory DirectoryOrCreate File FileOrCreate Socket";
    if source.has("path") {
        check(source, &[("path", Is(no_backsteps)), ("type", OneOf(TYPES))], errors);
    } else {
        errors.required(&source.get("path"), "");
    }
}

fn partition(partition: &Field, errors: &mut Errors) {
    if partition.value.as_i64().is_some_and(|number| !(0..=255).contains(&number)) {
        errors.wrong(partition, "must be between 0 and 255, inclusive (0 means unspecified)");
    }
}

fn key_to_path(item: &Field, errors: &mut Errors) {
    check(item, &[("key path", Needed), ("path", Is(local_path)), ("mode", MODE)], errors);
}

fn iscsi(source: &Field, errors: &mut Errors) {
    check(
        source,
        &[("targetPortal iqn", Needed), ("iqn?", Is(iscsi_name)), ("lun", Between(0, 255))],
        errors,
    );
    if source.is_true("chapAuthDiscovery") || source.is_true("chapAuthSession") {
        check(source, &[("secretRef", Needed)], errors);
    }
    for initiator in source.among(&["initiatorName"]) {
        // Upstream's path is in lower case.
        iscsi_name(&Field::new(&source.child("initiatorname"), initiator.value), errors);
    }
}

fn iscsi_name(field: &Field, errors: &mut Errors) {
    let name = field.text();
    let word = |text: &str, length| text.len() == length && text.bytes().all(|c| c.is_ascii_alphanumeric());
    let right = match name.split_at_checked(4) {
        Some(("iqn.", rest)) => is_iqn(rest),
        Some((start, rest)) if start.starts_with("eui") => word(rest, 16),
        Some((start, rest)) if start.starts_with("naa") => word(rest, 32),
        _ => false,
    };
    if !["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix)) {
        errors.wrong(field, "must be valid format starting with iqn, eui, or naa");
    } else if !right {
        errors.wrong(field, "must be valid format");
    }
}

/// `2001-04.com.example`, a colon, and anything but blanks and a few signs.
fn is_iqn(text: &str) -> bool {
    let Some((authority, name)) = text.split_once(':') else { return false };
    let Some((date, domain)) = authority.split_once('.') else { return false };
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|c| c.is_ascii_digit());
    let dated = date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let named = !domain.is_empty() && domain.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.".contains(&c));
    dated && named && !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || ",;*&$|".contains(c))
}

fn flocker(source: &Field, errors: &mut Errors) {
    match (source.has("datasetName"), source.has("datasetUUID")) {
        (false, false) => errors.required(source, "one of datasetName and datasetUUID is required"),
        (true, true) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(source, "resource", detail);
        }
        _ => {}
    }
    if source.str("datasetName").contains('/') {
        errors.invalid(&source.get("datasetName"), source.str("datasetName"), "must not contain '/'");
    }
}

fn quobyte(source: &Field, errors: &mut Errors) {
    let registry = source.get("registry");
    let detail = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.required(&registry, detail);
    } else if source.str("tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&source.get("tenant"), detail);
    } else {
        let is_pair = |pair: &&str| {
            pair.rsplit_once(':').is_some_and(|(host, _)| {
                let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                !bracketed.unwrap_or(host).contains(['[', ']'])
                    && (bracketed.is_some() || !host.contains(':'))
            })
        };
        for _ in registry.text().split(',').filter(|pair| !is_pair(pair)) {
            if errors.is_full() {
                break;
            }
            errors.wrong(&registry, detail);
        }
    }
}

fn downward(source: &Field, errors: &mut Errors) {
    for file in source.get("items").items() {
        // Upstream's paths leave out `items` and the index here.
        downward_file(&Field::new(source, file.value), errors);
    }
}

fn downward_file(file: &Field, errors: &mut Errors) {
    check(file, &[("path", Needed), ("path", Is(local_path))], errors);
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    if field.is_set() {
        field_ref(&field, FILE_FIELDS, errors);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(file, "resource", detail);
        }
    } else if resource.is_set() {
        resource_ref(&resource, true, errors);
    } else {
        errors.required(file, "one of fieldRef and resourceFieldRef is required");
    }
    check(file, &[("mode", MODE)], errors);
}

fn fibre_channel(source: &Field, errors: &mut Errors) {
    let targets = source.get("targetWWNs");
    match (targets.is_empty(), !source.has("wwids")) {
        (true, true) => errors.required(&targets, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => errors.wrong(&targets, "targetWWNs and wwids can not be specified simultaneously"),
        _ => {}
    }
    let lun = source.get("lun");
    if !targets.is_empty() && !lun.is_set() {
        errors.required(&lun, "lun is required if targetWWNs is specified");
    } else if !targets.is_empty() {
        Between(0, 255).check(&lun, errors);
    }
}

fn flex_options(options: &Field, errors: &mut Errors) {
    for (key, value) in options.entries() {
        let domain = key.split_once('/').map_or(key, |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            errors.invalid(&value, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

/// The form of `diskURI`, which differs between managed and other disks.
fn azure_uri(source: &Field, errors: &mut Errors) {
    let (uri, kind) = (source.get("diskURI"), source.get("kind"));
    let (start, form) = match kind.text() {
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if kind.is_set() && !uri.text().starts_with(start) {
        errors.not_supported(&uri, uri.text(), form);
    }
}

/// Several sources in one directory, whose paths may not clash.
fn projected(volume: &Field, errors: &mut Errors) {
    let mut taken: HashSet<String> = HashSet::new();
    let mut claim_path = |path: &str, shown: &str, errors: &mut Errors| {
        if !path.is_empty() && !taken.insert(path.to_owned()) {
            errors.invalid(volume, shown, "conflicting duplicate paths");
        }
    };
    let kinds =
        ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
    for source in volume.get("sources").items() {
        for projection in source.among(&kinds) {
            match projection.name() {
                "secret" | "configMap" => {
                    check(&projection, &[("name", Needed)], errors);
                    for item in projection.get("items").items() {
                        key_to_path(&item, errors);
                        claim_path(item.str("path"), projection.str("name"), errors);
                    }
                }
                "downwardAPI" => {
                    for file in projection.get("items").items() {
                        downward_file(&Field::new(&projection, file.value), errors);
                        claim_path(file.str("path"), file.str("path"), errors);
                    }
                }
                "serviceAccountToken" => token(volume, &projection, errors),
                "clusterTrustBundle" => {
                    trust_bundle(&projection, errors);
                    claim_path(projection.str("path"), projection.str("path"), errors);
                }
                _ => {
                    for name in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
                        local_path(&projection.get(name), errors);
                        claim_path(projection.str(name), projection.str(name), errors);
                    }
                }
            }
        }
        if source.among(&kinds).count() > 1 {
            errors.forbidden(&source, "may not specify more than 1 volume type per source");
        }
    }
}

fn token(volume: &Field, token: &Field, errors: &mut Errors) {
    let expiration = token.get("expirationSeconds");
    let seconds = token.int("expirationSeconds").unwrap_or(0);
    if seconds < 600 {
        errors.invalid(&expiration, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(&expiration, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    // Upstream's path is the volume's.
    let path = Field::new(&volume.child("path"), token.raw("path"));
    Needed.check(&path, errors);
    local_path(&path, errors);
}

fn trust_bundle(bundle: &Field, errors: &mut Errors) {
    let (name, signer) = (bundle.get("name"), bundle.get("signerName"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => {
            let shown = internal::show("ClusterTrustBundleProjection", bundle.value);
            errors.invalid(bundle, shown, "only one of name and signerName may be used");
        }
        (true, false) => {
            NeededFor("must be a valid object name").check(&name, errors);
            let plain = name.text().rsplit(':').next().unwrap_or_default();
            for problem in names::dns_subdomain(plain) {
                errors.wrong(&name, &format!("not a valid clustertrustbundlename: {problem}"));
            }
            for selector in bundle.among(&["labelSelector"]) {
                errors.wrong(&selector, "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            NeededFor("must be a valid signer name").check(&signer, errors);
            selector::validate_object(&bundle.get("labelSelector"), false, errors);
        }
        (false, false) => errors.required(bundle, "either name or signerName must be specified"),
    }
    check(bundle, &[("path", Needed), ("path", Is(local_path))], errors);
}

fn csi_driver(driver: &Field, errors: &mut Errors) {
    if driver.is_empty() {
        return errors.required(driver, "");
    }
    if driver.text().len() > names::LABEL_MAX {
        errors.too_long(driver, names::LABEL_MAX);
    }
    errors.all_invalid(driver, driver.text(), names::dns_subdomain(&driver.text().to_lowercase()));
}

fn csi_secret(secret: &Field, errors: &mut Errors) {
    if secret.is_set() {
        check(secret, &[("name", Needed), ("name?", Name(names::dns_subdomain))], errors);
    }
}
