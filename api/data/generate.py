#!/usr/bin/env python3
"""Regenerates `schemas.jsonl`, `types.txt` and `registered.txt` from facts about the API that are public elsewhere.

    ./generate.py SCHEMAS.json K8S_PB/src [GO_SOURCES]

SCHEMAS.json maps names of types to their OpenAPI v3 schemas. K8S_PB/src are the sources of the crate k8s-pb: they tell
the order in which Go declares fields, the numbers of the protobuf fields, and which structs are embedded in which.
GO_SOURCES is a folder holding any release's `k8s.io/*/types.go`: they tell what no schema does, namely which fields are
pointers (so that a zero is kept), which lack `omitempty` (so that a zero is printed), and what named types are called.

`schemas.jsonl`: one line a type, `NAME<tab>SCHEMA`, sorted. `types.txt`: one line a type,
`NAME field field ...`, each field `json=NUMBER[:GoType][?|!][{embedded fields}]`:
NUMBER is 0 where k8s-pb does not know the field: run `numbers.py` afterwards.
`?` is a plain value left out when it is zero, `!` one that is printed even so; neither, a pointer or a collection.
`registered.txt`: every kind that upstream's scheme knows, served or not: `VERSION Kind Kind ...`.
"""
import json, os, re, sys

# Plain values among the fields that are younger than the Go sources at hand; their other optional scalars are pointers.
VALUES = set("""ApplyConfiguration.expression CustomResourceDefinitionCondition.observedGeneration
CustomResourceDefinitionStatus.observedGeneration DeleteOptions.apiVersion DeleteOptions.kind
FieldSelectorAttributes.rawSelector ImageVolumeSource.pullPolicy ImageVolumeSource.reference
IngressLoadBalancerIngress.hostname IngressLoadBalancerIngress.ip JSONPatch.expression JobStatus.completedIndexes
LabelSelectorAttributes.rawSelector ManagedFieldsEntry.subresource ModifyVolumeStatus.targetVolumeAttributesClassName
MutatingAdmissionPolicyBindingSpec.policyName MutatingAdmissionPolicySpec.reinvocationPolicy NodeRuntimeHandler.name
ParamKind.apiVersion ParamKind.kind ParamRef.name ParamRef.namespace PodCertificateProjection.certificateChainPath
PodCertificateProjection.credentialBundlePath PodCertificateProjection.keyPath PodCondition.observedGeneration
PodStatus.observedGeneration PodStatus.resize ResourceClaim.request ResourceHealth.health StatefulSetSpec.minReadySeconds
StatefulSetPersistentVolumeClaimRetentionPolicy.whenDeleted StatefulSetPersistentVolumeClaimRetentionPolicy.whenScaled
ValidatingAdmissionPolicyStatus.observedGeneration Validation.message Validation.messageExpression
ValidationRule.fieldPath ValidationRule.message ValidationRule.messageExpression""".split())
PRINTED = {"StatefulSetStatus.availableReplicas"}
# Collections that mean something even if they are empty: admission refuses any overhead.
GIVEN = {"PodSpec.overhead"}
SCALARS = {"string", "bool", "int32", "int64", "int", "float64"}


def normal(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def proto_structs(root):
    """{schema-like name, normalised: [(field, number, struct name or None)]}"""
    out = {}
    for folder, _, files in os.walk(root):
        for file in files:
            text = open(os.path.join(folder, file)).read()
            package = "/".join(os.path.relpath(folder, root).split(os.sep))
            for match in re.finditer(r"pub struct (\w+) \{(.*?)\n\}", text, re.S):
                fields = re.findall(r'#\[prost\(([^\]]*?)tag ?= ?"(\d+)"\)\]\s*pub (?:r#)?(\w+):\s*([^;]*?),\n', match[2] + "\n", re.S)
                rows = [(name, int(tag), re.findall(r"(\w+)>*\s*$", kind.strip())[-1] if "message" in how and "repeated" not in how and "map" not in how else None)
                        for how, tag, name, kind in fields]
                out[normal(package + "/" + match[1])] = rows
    return out


def go_structs(root):
    """{(group folder, struct): {json: (go type, omitempty)}}, {(group folder, type): underlying}; the newest version first."""
    structs, named = {}, {}
    rank = lambda path: (0 if re.search(r"/v\d+/", path) else 1, path)
    paths = [os.path.join(f, n) for f, _, ns in os.walk(root) for n in ns if n.startswith("types") and n.endswith(".go")] if root else []
    for path in sorted(paths, key=rank):
        text = open(path).read()
        group = os.path.basename(os.path.dirname(os.path.dirname(path)))
        for name, base in re.findall(r"^type (\w+) ([\w.\[\]*]+)$", text, re.M):
            named.setdefault((group, name), base)
        for match in re.finditer(r"^type (\w+) struct \{(.*?)^\}", text, re.S | re.M):
            fields = {}
            for _, kind, tag in re.findall(r'^\t(\w+)\s+([^\s`]+)\s+`json:"([^"]+)"', match[2], re.M):
                json_name, *options = tag.split(",")
                if json_name:
                    fields[json_name] = (kind, "omitempty" in options)
            structs.setdefault((group, match[1]), fields)
    return structs, named


def main():
    schemas = json.load(open(sys.argv[1]))
    protos = proto_structs(sys.argv[2])
    structs, named = go_structs(sys.argv[3] if len(sys.argv) > 3 else None)
    proper = {}
    for name in schemas:
        proper[normal(name.rsplit(".", 1)[1])] = name.rsplit(".", 1)[1]
    here = os.path.dirname(os.path.abspath(__file__))
    unknown = []

    def prefix(name):
        """`io.k8s.api.core.v1.Pod` -> `api/core/v1`, the folder of k8s-pb."""
        parts = name.removeprefix("io.k8s.").split(".")[:-1]
        return "/".join(p.replace("-", "_") for p in parts)

    def mark(schema, group, struct, field, prop):
        """What a schema does not tell of a field."""
        target = json.dumps(prop)
        ref = re.search(r'"\$ref": "#/components/schemas/([\w.\-]+)"', target)
        ref = ref[1] if ref and (prop.get("allOf") or "$ref" in prop) else ""
        collection = prop.get("type") in ("array",) or "additionalProperties" in prop
        value = ref.rsplit(".", 1)[-1]
        special = value in ("Quantity", "Time", "MicroTime", "IntOrString")
        required = field in schema.get("required", [])
        fact = structs.get((group, struct), {}).get(field) or structs.get(("v1", struct), {}).get(field)
        label = ""
        if fact:
            kind, omit = fact
            pointer = kind.startswith("*")
            bare = kind.lstrip("*")
            if not re.match(r"[\[\]]|map", bare) and "." not in bare and bare not in SCALARS and not ref:
                label = ":" + bare
            elif bare.startswith("v1.") and not ref or bare == "types.UID":
                label = ":" + bare.removeprefix("v1.")
            elif collection and re.match(r"[A-Z]\w*$", bare):
                label = ":" + bare
            if pointer:
                return label
            if collection and f"{struct}.{field}" in GIVEN:
                return label + "+"
            if collection:
                return label + ("" if omit else "!")
            if ref and not special:
                return label + ("!" if prop.get("default") == {} else "")
            if special:
                return label + ("!" if field != "creationTimestamp" else "")
            return label + ("?" if omit else "!")
        if structs:
            unknown.append(f"{struct}.{field}")
        if collection:
            return ""
        if ref and not special:
            return "!" if prop.get("default") == {} else ""
        if required and (prop.get("default") in ("", 0, False) or (special and value != "Quantity")):
            return "!"
        if f"{struct}.{field}" in PRINTED:
            return "!"
        return "?" if f"{struct}.{field}" in VALUES else ""

    with open(os.path.join(here, "schemas.jsonl"), "w") as out:
        for name in sorted(schemas):
            out.write(f"{name}\t{json.dumps(schemas[name], separators=(',', ':'), ensure_ascii=False)}\n")

    with open(os.path.join(here, "types.txt"), "w") as out:
        for name in sorted(schemas):
            schema = schemas[name]
            properties = schema.get("properties")
            if not properties:
                continue
            struct, package = name.rsplit(".", 1)[1], prefix(name)
            group = name.split(".")[-3]
            left = {normal(p): p for p in properties}
            words = []

            def take(rows, package, struct):
                words = []
                for field, number, message in rows:
                    prop = left.pop(normal(field), None)
                    if prop is None and field == "delta_fifo_fields":
                        continue
                    if prop is not None:
                        words.append(f"{prop}={number}{mark(schema, group, struct, prop, properties[prop])}")
                    elif message and normal(package + "/" + message) in protos:
                        inner = proper.get(normal(message), message)
                        embedded = take(protos[normal(package + "/" + message)], package, inner)
                        if embedded:
                            words.append(f"{inner}={number}{{{' '.join(embedded)}}}")
                return words

            for meta in ("kind", "apiVersion"):
                if meta in properties and (schema.get("x-kubernetes-group-version-kind") or {"metadata"} & set(properties)):
                    left.pop(normal(meta))
                    words.append(f"{meta}=0?")
            words += take(protos.get(normal(package + "/" + struct), []), package, struct)
            for prop in list(left.values()):
                words.append(f"{prop}=0{mark(schema, group, struct, prop, properties[prop])}")
            out.write(f"{name} {' '.join(words)}\n")
    kinds, groups = {}, {"core": "", "extensions": "extensions"}
    texts = {}
    for folder, _, files in os.walk(sys.argv[2]):
        for file in files:
            texts[folder] = open(os.path.join(folder, file)).read()
            if found := re.search(r'const GROUP: .*?= "(.*?)";', texts[folder]):
                groups[os.path.basename(os.path.dirname(folder))] = found[1]
    for folder, text in texts.items():
        group, version = groups.get(os.path.basename(os.path.dirname(folder))), os.path.basename(folder)
        if group is None or not re.match(r"v\d", version):
            continue
        known = kinds.setdefault(f"{group}/{version}" if group else version, set())
        known.update(k for pair in re.findall(r'const KIND: .*?= "(.*?)";', text) for k in (pair, pair + "List"))
        if not known:
            known.update(m[0] for m in re.findall(r"pub struct (\w+) \{(.*?)\n\}", text, re.S) if "pub metadata:" in m[1] and not m[0].endswith("TemplateSpec"))
    for schema in schemas.values():
        for row in schema.get("x-kubernetes-group-version-kind", []):
            version = f"{row['group']}/{row['version']}" if row["group"] else row["version"]
            kinds.setdefault(version, set()).add(row["kind"])
    with open(os.path.join(here, "registered.txt"), "w") as out:
        for version in sorted(kinds):
            out.write(f"{version} {' '.join(sorted(kinds[version]))}\n")

    if os.environ.get("VERBOSE"):
        print("\n".join(sorted(unknown)))


main()
