"""The JSON schemas of docs/schemas: loads them, validates documents, and keeps count
of what documents have shown of them.  It runs nothing and knows no command."""
import copy
import json
import os
import warnings

import jsonschema

FOLDER = "docs/schemas"
BASE = "file:///nstate/"


class Schemas:
    def __init__(self):
        warnings.simplefilter("ignore", DeprecationWarning)
        self.text = {}
        for f in sorted(os.listdir(FOLDER)):
            if f.endswith(".json"):
                with open(os.path.join(FOLDER, f), encoding="utf-8") as h:
                    self.text[f[:-5]] = json.load(h)
        store = {BASE + n + ".json": s for n, s in self.text.items()}
        self.validators = {}
        for n, s in self.text.items():
            jsonschema.Draft202012Validator.check_schema(s)
            resolver = jsonschema.RefResolver(BASE + n + ".json", s, store)
            self.validators[n] = jsonschema.Draft202012Validator(
                s, resolver=resolver)
        self.seen = set()      # "common#/$defs/broken/properties/rule"
        self.lacked = set()    # the keys that some document did without
        self.damaged = set()

    # -- references ------------------------------------------------------------------
    def follow(self, name, at, node):
        """The node that stands at the end of its references, and where that is."""
        while "$ref" in node:
            target, pointer = node["$ref"].split("#")
            name = target[:-5] if target else name
            at, node = pointer, self.text[name]
            for part in at.split("/")[1:]:
                node = node[part]
        return name, at, node

    def fits(self, name, node, value):
        return self.validators[name].evolve(schema=node).is_valid(value)

    # -- documents -------------------------------------------------------------------
    def error(self, name, document):
        """What is wrong with it, or None."""
        e = jsonschema.exceptions.best_match(
            self.validators[name].iter_errors(document))
        return e and "%s: %s" % (e.json_path, e.message[:300])

    def walk(self, name, at, node, value, visit):
        """visit(place, node, value) for each part of a valid document, with the part of
        the schema that it is valid by."""
        name, at, node = self.follow(name, at, node)
        visit(name + "#" + at, node, value)
        for i, branch in enumerate(node.get("oneOf", ())):
            n, a, b = self.follow(name, "%s/oneOf/%d" % (at, i), branch)
            if self.fits(n, b, value):
                self.walk(n, a, b, value, visit)
        if isinstance(value, dict):
            known = node.get("properties", {})
            rest = node.get("additionalProperties", False)
            for k, v in list(value.items()):
                if k in known:
                    self.seen.add("%s#%s/properties/%s" % (name, at, k))
                    self.walk(name, at + "/properties/" + k, known[k], v, visit)
                elif rest:
                    self.walk(name, at + "/additionalProperties", rest, v, visit)
        if isinstance(value, list) and node.get("items"):
            for v in value:
                self.walk(name, at + "/items", node["items"], v, visit)

    def note(self, name, document):
        def visit(place, node, value):
            self.seen.add(place)
            if "enum" in node:
                self.seen.add("%s/enum/%s" % (place, value))
            for k in node.get("properties", ()) if isinstance(value, dict) else ():
                if k not in value:
                    self.lacked.add("%s/properties/%s" % (place, k))
        self.walk(name, "", self.text[name], document, visit)

    # -- damage ----------------------------------------------------------------------
    def damage(self, name, document):
        """Takes each required key out, adds one to each closed object, and gives each
        key a value of another type: once for each place of the schemas.  Returns what
        was not rejected."""
        document = copy.deepcopy(document)
        missed, objects = [], []

        def visit(place, node, value):
            if isinstance(value, dict) and \
                    node.get("additionalProperties", True) is False:
                objects.append((place, node, value))

        def attempt(what):
            if self.validators[name].is_valid(document):
                missed.append(name + ": accepted with " + what)

        self.walk(name, "", self.text[name], document, visit)
        for place, node, value in objects:
            changes = [("-", k) for k in node.get("required", ())] + \
                [("?", k) for k in value] + [("+", "no_such_key")]
            for sign, k in changes:
                if (place, sign, k) in self.damaged:
                    continue
                self.damaged.add((place, sign, k))
                was = dict(value)
                if sign == "-":
                    del value[k]
                else:
                    value[k] = [[0.5]]
                attempt("%s%s at %s" % (sign, k, place))
                value.clear()
                value.update(was)
        return missed

    # -- the schemas themselves ------------------------------------------------------
    def parts(self):
        """(place, node) of all there is, references not followed."""
        def down(name, at, node):
            if not isinstance(node, dict):
                return
            yield name + "#" + at, node
            for key in ("properties", "$defs"):
                for k, v in node.get(key, {}).items():
                    yield from down(name, "%s/%s/%s" % (at, key, k), v)
            for key in ("items", "additionalProperties"):
                yield from down(name, at + "/" + key, node.get(key))
            for i, v in enumerate(node.get("oneOf", ())):
                yield from down(name, "%s/oneOf/%d" % (at, i), v)
        for name, s in self.text.items():
            yield from down(name, "", s)

    def lint(self):
        """Objects that are open, keys that nobody explains."""
        bad = []
        for place, node in self.parts():
            if "properties" in node and \
                    node.get("additionalProperties") is not False:
                bad.append(place + " is open")
            for k, v in node.get("properties", {}).items():
                said = "%s/properties/%s" % (place, k)
                n, _, end = self.follow(place.split("#")[0], "", v)
                branches = [self.follow(n, "", b)[2] for b in end.get("oneOf", ())]
                if not any("description" in x for x in [v, end] + branches):
                    bad.append(said + " has no description")
        return bad

    def unseen(self):
        """Schemas, keys and enumerated values that no document had."""
        missing = []
        for place, node in self.parts():
            if "#/" not in place and place != "common#":
                missing += [place] if place not in self.seen else []
            for k in node.get("properties", {}):
                missing.append("%s/properties/%s" % (place, k))
            # A reference's enumeration is counted where it is defined.
            for v in node.get("enum", ()):
                missing.append("%s/enum/%s" % (place, v))
        return [m for m in missing if m not in self.seen]

    def needless(self):
        """Keys that are optional, and that no document did without."""
        return [p for place, node in self.parts() for k in node.get("properties", ())
                for p in ["%s/properties/%s" % (place, k)]
                if k not in node.get("required", ()) and p in self.seen and
                p not in self.lacked]
