//! The rules for every source that a volume can have, in one table.

use std::collections::HashSet;

use super::env;
use super::volumes::{descending_path, local_path, no_backsteps};
use crate::field::{Errors, Field};
use crate::internal;
use crate::names;
use crate::quantity::Quantity;
use crate::selector;
use crate::validate::{claim, rules};

/// One source.
pub struct Source {
    /// The field of the volume.
    pub field: &'static str,
    /// How upstream spells it when it is one too many, where that differs.
    pub when_refused: Option<&'static str>,
    /// How upstream spells it in the paths of its rules, where that differs.
    pub in_rules: Option<&'static str>,
    /// Its rules.
    pub rule: fn(&Field, &mut Errors),
}

const fn source(field: &'static str, rule: fn(&Field, &mut Errors)) -> Source {
    Source { field, when_refused: None, in_rules: None, rule }
}

/// Every source, in the order in which upstream looks for them.
pub const SOURCES: &[Source] = &[
    source("emptyDir", empty_dir),
    source("hostPath", host_path),
    source("gitRepo", git_repo),
    Source { in_rules: Some("persistentDisk"), ..source("gcePersistentDisk", |s, e| disk(s, "pdName", e)) },
    source("awsElasticBlockStore", |s, e| disk(s, "volumeID", e)),
    source("secret", |s, e| keys(s, "secretName", e)),
    source("nfs", nfs),
    source("iscsi", iscsi),
    source("glusterfs", |s, e| all_required(s, &["endpoints", "path"], e)),
    source("flocker", flocker),
    source("persistentVolumeClaim", |s, e| all_required(s, &["claimName"], e)),
    source("rbd", |s, e| all_required(s, &["monitors", "image"], e)),
    source("cinder", |s, e| {
        all_required(s, &["volumeID"], e);
        secret_ref(s, e);
    }),
    Source { when_refused: Some("cephFS"), ..source("cephfs", |s, e| all_required(s, &["monitors"], e)) },
    source("quobyte", quobyte),
    Source { when_refused: Some("downwarAPI"), ..source("downwardAPI", downward_api) },
    source("fc", fibre_channel),
    source("flexVolume", flex_volume),
    source("configMap", |s, e| keys(s, "name", e)),
    source("azureFile", |s, e| all_required(s, &["secretName", "shareName"], e)),
    source("vsphereVolume", |s, e| all_required(s, &["volumePath"], e)),
    source("photonPersistentDisk", |s, e| all_required(s, &["pdID"], e)),
    source("portworxVolume", |s, e| all_required(s, &["volumeID"], e)),
    source("azureDisk", azure_disk),
    source("storageos", storage_os),
    source("projected", projected),
    source("scaleIO", |s, e| all_required(s, &["gateway", "system", "volumeName"], e)),
    source("csi", csi),
    source("ephemeral", ephemeral),
    source("image", image),
];

fn all_required(source: &Field, names: &[&str], errors: &mut Errors) {
    for name in names {
        rules::required(&source.get(name), "", errors);
    }
}

fn secret_ref(source: &Field, errors: &mut Errors) {
    let secret = source.get("secretRef");
    if secret.is_set() {
        all_required(&secret, &["name"], errors);
    }
}

/// Permissions of files.
fn mode(mode: &Field, errors: &mut Errors) {
    if let Some(number) = mode.value.as_i64().filter(|number| !(0..=0o777).contains(number)) {
        errors.invalid(mode, number, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn empty_dir(source: &Field, errors: &mut Errors) {
    let limit = source.get("sizeLimit");
    if Quantity::from_json(limit.value).is_some_and(|limit| limit.is_negative()) {
        errors.forbidden(&limit, "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(source: &Field, errors: &mut Errors) {
    let path = source.get("path");
    if path.is_empty() {
        return errors.required(&path, "");
    }
    no_backsteps(&path, errors);
    let kinds =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    rules::one_of(&source.get("type"), &kinds, errors);
}

fn git_repo(source: &Field, errors: &mut Errors) {
    all_required(source, &["repository"], errors);
    descending_path(&source.get("directory"), errors);
}

fn disk(source: &Field, id: &str, errors: &mut Errors) {
    all_required(source, &[id], errors);
    let partition = source.int("partition").unwrap_or(0);
    if !(0..=255).contains(&partition) {
        errors.invalid(
            &source.get("partition"),
            partition,
            "must be between 0 and 255, inclusive (0 means unspecified)",
        );
    }
}

/// A ConfigMap or a Secret, all of it or some keys.
fn keys(source: &Field, name: &str, errors: &mut Errors) {
    all_required(source, &[name], errors);
    mode(&source.get("defaultMode"), errors);
    for item in source.get("items").items() {
        key_to_path(&item, errors);
    }
}

fn key_to_path(item: &Field, errors: &mut Errors) {
    all_required(item, &["key", "path"], errors);
    local_path(&item.get("path"), errors);
    mode(&item.get("mode"), errors);
}

fn nfs(source: &Field, errors: &mut Errors) {
    all_required(source, &["server", "path"], errors);
    if !source.str("path").starts_with('/') {
        errors.invalid(&source.get("path"), source.str("path"), "must be an absolute path");
    }
}

fn iscsi(source: &Field, errors: &mut Errors) {
    all_required(source, &["targetPortal", "iqn"], errors);
    if source.has("iqn") {
        qualified_iscsi(&source.get("iqn"), source.str("iqn"), errors);
    }
    let lun = source.int("lun").unwrap_or(0);
    if !(0..=255).contains(&lun) {
        errors.invalid(&source.get("lun"), lun, "must be between 0 and 255, inclusive");
    }
    let authenticates = source.is_true("chapAuthDiscovery") || source.is_true("chapAuthSession");
    if authenticates && !source.get("secretRef").is_set() {
        errors.required(&source.get("secretRef"), "");
    }
    for initiator in source.among(&["initiatorName"]) {
        // Upstream's path is in lower case.
        let path = source.child("initiatorname");
        qualified_iscsi(&Field::new(&path, initiator.value), initiator.text(), errors);
    }
}

fn qualified_iscsi(field: &Field, name: &str, errors: &mut Errors) {
    let hex = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit())
    };
    let right = match name.split_at_checked(4) {
        Some(("iqn.", rest)) => is_iqn(rest),
        Some(("eui.", rest)) => hex(rest, &[16]),
        Some(("naa.", rest)) => hex(rest, &[16, 32]),
        _ => false,
    };
    if !["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix)) {
        errors.invalid(field, name, "must be valid format starting with iqn, eui, or naa");
    } else if !right {
        errors.invalid(field, name, "must be valid format");
    }
}

/// `2001-04.com.example` and what follows a colon.
fn is_iqn(text: &str) -> bool {
    let (authority, name) = text.split_once(':').unwrap_or((text, "x"));
    let Some((date, domain)) = authority.split_once('.') else { return false };
    let year_and_month = date.split_once('-').is_some_and(|(year, month)| {
        let digits =
            |text: &str, count: usize| text.len() == count && text.bytes().all(|c| c.is_ascii_digit());
        digits(year, 4) && digits(month, 2)
    });
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.".contains(&c))
    };
    year_and_month && word(domain) && !name.is_empty() && !name.contains(char::is_whitespace)
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
        for _ in registry.text().split(',').filter(|pair| pair.matches(':').count() != 1) {
            errors.invalid(&registry, registry.text(), detail);
        }
    }
    all_required(source, &["volume"], errors);
}

fn downward_api(source: &Field, errors: &mut Errors) {
    mode(&source.get("defaultMode"), errors);
    for file in source.get("items").items() {
        // Upstream's paths leave out `items` and the index here.
        downward_file(&Field::new(source, file.value), errors);
    }
}

fn downward_file(file: &Field, errors: &mut Errors) {
    all_required(file, &["path"], errors);
    local_path(&file.get("path"), errors);
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    if field.is_set() {
        env::field_ref(&field, env::FILE_FIELDS, errors);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(file, "resource", detail);
        }
    } else if resource.is_set() {
        env::resource_ref(&resource, true, errors);
    } else {
        errors.required(file, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&file.get("mode"), errors);
}

fn fibre_channel(source: &Field, errors: &mut Errors) {
    let targets = source.get("targetWWNs");
    match (targets.is_empty(), !source.has("wwids")) {
        (true, true) => errors.required(&targets, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            let detail = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&targets, targets.value.clone(), detail);
        }
        _ => {}
    }
    if !targets.is_empty() {
        let lun = source.get("lun");
        if lun.is_set() {
            rules::in_range(&lun, 0, 255, errors);
        } else {
            errors.required(&lun, "lun is required if targetWWNs is specified");
        }
    }
}

fn flex_volume(source: &Field, errors: &mut Errors) {
    all_required(source, &["driver"], errors);
    for (key, value) in source.get("options").entries() {
        let domain = key.split_once('/').map_or(key, |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            errors.invalid(&value, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(source: &Field, errors: &mut Errors) {
    all_required(source, &["diskName", "diskURI"], errors);
    let kind = source.get("kind");
    for mode in source.among(&["cachingMode"]) {
        rules::one_of(&mode, &["None", "ReadOnly", "ReadWrite"], errors);
    }
    if kind.is_set() {
        rules::one_of(&kind, &["Dedicated", "Managed", "Shared"], errors);
        let uri = source.get("diskURI");
        let (start, form) = match kind.text() {
            "Managed" => (
                "/subscriptions/",
                "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
            ),
            _ => {
                ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
            }
        };
        if !uri.text().starts_with(start) {
            errors.not_supported(&uri, uri.text(), &[form]);
        }
    }
}

fn storage_os(source: &Field, errors: &mut Errors) {
    rules::required_name(&source.get("volumeName"), names::dns_label, errors);
    if source.has("volumeNamespace") {
        rules::follows(&source.get("volumeNamespace"), names::dns_label, errors);
    }
    secret_ref(source, errors);
}

/// Several sources in one directory, whose paths may not clash.
fn projected(volume: &Field, errors: &mut Errors) {
    mode(&volume.get("defaultMode"), errors);
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
            match projection.path().name() {
                "secret" | "configMap" => {
                    all_required(&projection, &["name"], errors);
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
    let path = volume.child("path");
    let path = Field::new(&path, token.raw("path"));
    rules::required(&path, "", errors);
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
            rules::required(&name, "must be a valid object name", errors);
            let plain = name.text().rsplit(':').next().unwrap_or_default();
            for problem in names::dns_subdomain(plain) {
                let detail = format!("not a valid clustertrustbundlename: {problem}");
                errors.invalid(&name, name.text(), &detail);
            }
            for selector in bundle.among(&["labelSelector"]) {
                let detail = "labelSelector must be unset if name is specified";
                errors.invalid(&selector, selector.value.clone(), detail);
            }
        }
        (false, true) => {
            rules::required(&signer, "must be a valid signer name", errors);
            selector::validate_object(
                bundle.raw("labelSelector"),
                &bundle.child("labelSelector"),
                false,
                errors,
            );
        }
        (false, false) => errors.required(bundle, "either name or signerName must be specified"),
    }
    rules::required(&bundle.get("path"), "", errors);
    local_path(&bundle.get("path"), errors);
}

fn csi(source: &Field, errors: &mut Errors) {
    let driver = source.get("driver");
    rules::required(&driver, "", errors);
    if driver.text().len() > names::LABEL_MAX {
        errors.too_long(&driver, names::LABEL_MAX);
    }
    if !driver.is_empty() {
        let problems = names::dns_subdomain(&driver.text().to_lowercase());
        errors.all_invalid(&driver, driver.text(), problems);
    }
    let secret = source.get("nodePublishSecretRef");
    if secret.is_set() {
        if secret.has("name") {
            // Upstream's path leaves out the reference here.
            let problems = names::dns_subdomain(secret.str("name"));
            errors.all_invalid(&source.child("name"), secret.str("name"), problems);
        } else {
            errors.required(&secret.get("name"), "");
        }
    }
}

fn ephemeral(source: &Field, errors: &mut Errors) {
    let template = source.get("volumeClaimTemplate");
    if template.is_set() {
        claim::validate_claim_template(&template, errors);
    } else {
        errors.required(&template, "");
    }
}

fn image(source: &Field, errors: &mut Errors) {
    all_required(source, &["reference"], errors);
    for policy in source.among(&["pullPolicy"]) {
        rules::one_of(&policy, &["Always", "IfNotPresent", "Never"], errors);
    }
}
