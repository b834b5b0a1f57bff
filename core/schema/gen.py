#!/usr/bin/env python3
"""Turns the data model's text files into C tables. Runs at build time; Python 3, standard library.

    gen.py --source DIR --out DIR CLASS...

DIR/classes/CLASS.txt is one class each; DIR/enums.txt and DIR/errors.txt are what they say;
DIR/common.txt says what fields of common names hold. From them come schema_tables.c (the packed
tables that expand.c makes those of schema.h from), ids.h, errors.h and schema.json (the same for
tests and documents, which read no C).

How the files are written. An item starts in the first column; lines that are indented belong to
it. `#` opens a comment line. `| WORD WORD=VALUE ...` at the end of an item are its attributes.

  class VM | since=rio role=vm-admin stored persistent events create-destroy get-all by-name-label
	One line that says what it is.
    role=R            least role of messages that name none (write side)
    read=R            least role of the class's automatic readers, else read-only
    stored            has rows; and so the automatic messages that belong to rows
    persistent        rows survive a restart (by the model; ours always do)
    events            shows in event.from
    create-destroy, get-all, by-name-label      these automatic messages exist
    internal          our own: no messages, no events, shown to nobody

  field rw name_label : string = "" | db=name__label since=rio role=vm-operator
	One line that says what it holds.
    access is rw, once (given at creation, then fixed) or ro (the server's)
    : TYPE            the XenAPI's type grammar: "VBD ref set", "(string -> int) map", "enum x"
    = JSON            default. rw and once without one: create() must be given it
    db=N              its name in filter expressions, when that is another
    inverse=C.f       the other end of this relation, told at both ends. The kind follows from the
                      types: a reference is kept, a set against a reference is derived from it
    role=R read=R     least role to write, to read, where it is not the class's / read-only
    keys=K:R,K:R      map keys that take another role; * at the end of K matches any rest
    internal          kept in the row, never shown
    volatile          the model does not keep it over a restart

  message start(vm: VM ref, force: bool = false) -> void | role=vm-operator async
	One line that says what it does.
	errors: VM_BAD_POWER_STATE, OPERATION_NOT_ALLOWED
	locks: VM start, host vm_start
    async             Async.CLASS.NAME exists
    keys=K:R          as a field's, for messages that take a map key
    hidden            answered, but in no document
    no-session        the session is not its first parameter (it never is in the list here)
    on=PARAM          runs on the host that this argument names
    pool-internal, secret, emergency, no-current-operations, own-result, client-cert as the flags
    of struct xn_method; upstream=not-implemented|deprecated: what the reference toolstack answers
    locks: class and current_operations value that the call takes while it runs

  auto create | role=... (or errors:, locks: below it)
    an automatic message that differs from what the rules of automatic_messages() make of it

  enum vm_power_state: Halted Paused Running Suspended
  error VM_BAD_POWER_STATE: vm, expected, actual
	One sentence for people.
  common name_label
	One line, for every field of this name that says nothing itself.

Every class, field, message and error must say in a line what it is. A message called set_FIELD, get_FIELD,
add_to_FIELD and so on may leave that to its field.

since=RELEASE, deprecated=RELEASE, removed=RELEASE, prototype go with classes, fields, messages;
since is left out where it is the class's.
"""
import argparse
import json
import os
import re
import sys

ROLES = ['local-root', 'pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator',
         'client-cert', 'read-only']
LIFECYCLES = ['published', 'deprecated', 'removed', 'prototype']


class ModelError(Exception):
    pass


# ---- types ----

class Type:
    """A parsed type; `text` is its one spelling and its identity."""

    def __init__(self, kind, text, name=None, key=None, value=None):
        self.kind, self.text, self.name, self.key, self.value = kind, text, name, key, value


SIMPLE_TYPES = {'void', 'string', 'int', 'float', 'bool', 'datetime'}


def parse_type(text):
    text = text.strip()
    if text in SIMPLE_TYPES:
        return Type(text, text)
    if text == 'secret string':
        return Type('string', text)
    for suffix, kind in ((' set', 'set'), (' option', 'option')):
        if text.endswith(suffix):
            return Type(kind, text, value=parse_type(text[:-len(suffix)]))
    if text.startswith('(') and text.endswith(') map'):
        key, value = split_arrow(text[1:-len(') map')])
        return Type('map', text, key=parse_type(key), value=parse_type(value))
    match = re.fullmatch(r'enum (\w+)', text)
    if match:
        return Type('enum', text, name=match[1])
    match = re.fullmatch(r'(\w+|<class>) (ref|record)', text)
    if match:
        return Type(match[2], text, name=match[1])
    raise ModelError(f'no such type: {text!r}')


def split_arrow(text):
    depth = 0
    for i, char in enumerate(text):
        depth += (char == '(') - (char == ')')
        if depth == 0 and text.startswith(' -> ', i):
            return text[:i], text[i + 4:]
    raise ModelError(f'a map type without an arrow: {text!r}')


def empty_value(model, type_):
    """What a field without a default starts with."""
    if type_.kind == 'enum':
        return model.enums[type_.name].values[0]
    if type_.kind == 'ref':
        return 'OpaqueRef:NULL'
    return {'string': '', 'int': 0, 'float': 0.0, 'bool': False, 'datetime': '19700101T00:00:00Z',
            'set': [], 'map': {}}[type_.kind]


def check_default(model, type_, value, where):
    def wrong():
        raise ModelError(f'{where}: {json.dumps(value)} is no {type_.text}')
    kinds = {'string': str, 'int': int, 'float': (int, float), 'bool': bool, 'datetime': str,
             'enum': str, 'ref': str, 'set': list, 'map': dict}
    if not isinstance(value, kinds.get(type_.kind, ())):
        wrong()
    if type_.kind in ('int', 'float') and isinstance(value, bool):
        wrong()
    if type_.kind == 'enum' and value not in model.enums[type_.name].values:
        wrong()
    if type_.kind == 'ref' and not value.startswith('OpaqueRef:'):
        wrong()
    if type_.kind == 'datetime' and not re.fullmatch(r'\d{8}T\d\d:\d\d:\d\dZ', value):
        wrong()
    if type_.kind == 'set':
        for item in value:
            check_default(model, type_.value, item, where)
    if type_.kind == 'map':
        for item in value.values():
            check_default(model, type_.value, item, where)


# ---- the model ----

class Item:
    """A class, field, message, enum or error: whatever has attributes and a line of text."""

    def __init__(self, where, attributes=None):
        self.where = where
        self.attributes = attributes or {}
        self.doc = ''

    def has(self, name):
        return name in self.attributes

    def get(self, name, otherwise=None):
        return self.attributes.get(name, otherwise)

    def own_key_roles(self):
        keys = self.get('keys')
        return tuple(tuple(k.rsplit(':', 1)) for k in keys.split(',')) if keys else ()

    @property
    def lifecycle(self):
        for name in ('removed', 'deprecated', 'prototype'):
            if self.has(name):
                return name
        return 'published'


class Class(Item):
    def __init__(self, name, where, attributes):
        super().__init__(where, attributes)
        self.name, self.fields, self.messages, self.overrides = name, [], [], {}

    @property
    def role(self):
        return self.get('role', 'pool-admin')

    def field(self, name):
        return next((f for f in self.fields if f.name == name), None)


class Field(Item):
    def __init__(self, cls, access, name, type_, default, where, attributes):
        super().__init__(where, attributes)
        self.cls, self.access, self.name = cls, access, name
        self.type, self.default = type_, default
        self.relation, self.other = 'NONE', None

    @property
    def db_name(self):
        return self.get('db', self.name)

    @property
    def required(self):
        return self.access in ('rw', 'once') and self.default is None

    @property
    def key_roles(self):
        return self.own_key_roles()


class Param:
    def __init__(self, name, type_, default=None):
        self.name, self.type, self.default = name, type_, default


class Message(Item):
    def __init__(self, cls, name, kind, params, result, where, attributes):
        super().__init__(where, attributes)
        self.cls, self.name, self.kind, self.params, self.result = cls, name, kind, params, result
        self.field, self.errors, self.locks = None, [], []
        self.key_roles = self.own_key_roles()

    @property
    def full_name(self):
        return f'{self.cls.name}.{self.name}'

    @property
    def role(self):
        return self.get('role', self.cls.role)


class Enum(Item):
    def __init__(self, name, values, where):
        super().__init__(where)
        self.name, self.values = name, values


class Error(Item):
    def __init__(self, code, params, where):
        super().__init__(where)
        self.code, self.params = code, params


class Model:
    def __init__(self):
        self.classes, self.enums, self.errors, self.common = {}, {}, {}, {}
        self.messages = []


# ---- reading ----

ATTRIBUTES = {
    'class': 'since deprecated removed prototype role read stored persistent events '
             'create-destroy get-all by-name-label internal',
    'field': 'since deprecated removed prototype db inverse role read keys internal volatile',
    'message': 'since deprecated removed prototype role async hidden no-session on pool-internal '
               'secret emergency no-current-operations own-result client-cert upstream keys',
    'enum': '', 'error': '', 'common': '',
}
ATTRIBUTES = {kind: set(names.split()) for kind, names in ATTRIBUTES.items()}
ATTRIBUTES['auto'] = ATTRIBUTES['message']


def parse_attributes(kind, text, where):
    out = {}
    for word in text.split():
        name, _, value = word.partition('=')
        if name not in ATTRIBUTES[kind]:
            raise ModelError(f'{where}: a {kind} has no attribute {name!r}')
        out[name] = value
    for name in ('role', 'read'):
        if name in out and out[name] not in ROLES:
            raise ModelError(f'{where}: no such role: {out[name]}')
    for key in filter(None, out.get('keys', '').split(',')):
        if key.rsplit(':', 1)[-1] not in ROLES:
            raise ModelError(f'{where}: no such role: {key}')
    return out


def split_params(text):
    """On commas outside (), {}, [] and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted:
            depth += (char in '({[') - (char in ')}]')
            if char == ',' and depth == 0:
                parts.append(text[start:i])
                start = i + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def parse_param(text, where):
    match = re.fullmatch(r'(\w+): ([^=]+?)(?: = (.*))?', text)
    if not match:
        raise ModelError(f'{where}: not "name: type": {text!r}')
    return Param(match[1], parse_type(match[2]), match[3] and json.loads(match[3]))


class Reader:
    def __init__(self, model):
        self.model, self.cls, self.item = model, None, None

    def read(self, path):
        with open(path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                line, where = line.rstrip('\n'), f'{path}:{number}'
                if not line.strip() or line.startswith('#'):
                    continue
                try:
                    if line[0] in ' \t':
                        self.detail(line.strip(), where)
                    else:
                        self.start(line, where)
                except (ModelError, ValueError, KeyError) as problem:
                    text = str(problem)
                    raise ModelError(text if text.startswith(path) else f'{where}: {text}')

    def start(self, line, where):
        kind, _, rest = line.partition(' ')
        if kind not in ATTRIBUTES:
            raise ModelError(f'neither {", ".join(ATTRIBUTES)}: {kind!r}')
        head, _, attributes = rest.partition(' | ')
        attributes = parse_attributes(kind, attributes, where)
        self.item = getattr(self, 'start_' + kind)(head.strip(), attributes, where)

    def start_class(self, head, attributes, where):
        self.cls = Class(head, where, attributes)
        self.model.classes[head] = self.cls
        return self.cls

    def start_field(self, head, attributes, where):
        match = re.fullmatch(r'(rw|once|ro) (\w+) : ([^=]+?)(?: = (.*))?', head)
        if not match:
            raise ModelError('not "ACCESS NAME : TYPE = DEFAULT"')
        default = None if match[4] is None else json.loads(match[4])
        field = Field(self.cls, match[1], match[2], parse_type(match[3]), default, where,
                      attributes)
        if self.cls.field(field.name):
            raise ModelError(f'field {field.name} told twice')
        self.cls.fields.append(field)
        return field

    def start_message(self, head, attributes, where):
        match = re.fullmatch(r'(\w+)\((.*)\) -> (.+)', head)
        if not match:
            raise ModelError('not "NAME(PARAMS) -> RESULT"')
        params = [parse_param(text, where) for text in split_params(match[2])]
        message = Message(self.cls, match[1], 'EXPLICIT', params, parse_type(match[3]), where,
                          attributes)
        self.cls.messages.append(message)
        return message

    def start_auto(self, head, attributes, where):
        override = Message(self.cls, head, None, [], None, where, attributes)
        self.cls.overrides[head] = override
        return override

    def start_enum(self, head, attributes, where):
        name, _, values = head.partition(':')
        if name in self.model.enums:
            raise ModelError(f'enum {name} told twice')
        self.model.enums[name] = Enum(name, values.split(), where)
        return self.model.enums[name]

    def start_error(self, head, attributes, where):
        code, _, params = head.partition(':')
        if code in self.model.errors:
            raise ModelError(f'error {code} told twice')
        self.model.errors[code] = Error(code, [p.strip() for p in params.split(',') if p.strip()],
                                        where)
        return self.model.errors[code]

    def start_common(self, head, attributes, where):
        self.model.common[head] = Item(where)
        return self.model.common[head]

    def detail(self, text, where):
        if self.item is None:
            raise ModelError('an indented line that belongs to nothing')
        key, _, rest = text.partition(': ')
        if key == 'errors':
            self.item.errors = [code.strip() for code in rest.split(',')]
        elif key == 'locks':
            self.item.locks = [tuple(lock.split()) for lock in rest.split(',')]
        else:
            self.item.doc = f'{self.item.doc} {text}'.strip()


def read_model(source, class_names):
    model = Model()
    reader = Reader(model)
    reader.read(os.path.join(source, 'enums.txt'))
    reader.read(os.path.join(source, 'errors.txt'))
    for error in model.errors.values():
        need_doc(error)
    reader.read(os.path.join(source, 'common.txt'))
    for name in class_names:
        reader.read(os.path.join(source, 'classes', name + '.txt'))
        if name not in model.classes:
            raise ModelError(f'{name}.txt does not tell the class {name}')
    for cls in model.classes.values():
        cls.fields.sort(key=lambda f: f.has('internal'))
        finish_class(model, cls)
    for cls in model.classes.values():
        check_readers(cls)
        for field in cls.fields:
            finish_relation(model, field)
        if not cls.has('internal'):
            model.messages += automatic_messages(cls) + cls.messages
    for message in model.messages:
        finish_message(model, message)
    model.messages.sort(key=lambda m: m.full_name.encode())
    for a, b in zip(model.messages, model.messages[1:]):
        if a.full_name == b.full_name:
            raise ModelError(f'{b.where}: {b.full_name} exists twice')
    return model


# ---- what follows from what ----

def finish_class(model, cls):
    need_doc(cls)
    for field in cls.fields:
        check_type(model, field.type, field.where)
        if not field.doc and field.name in model.common:
            field.doc = model.common[field.name].doc
        need_doc(field)
        if field.default is not None:
            check_default(model, field.type, field.default, field.where)
        field.attributes.setdefault('since', cls.get('since', ''))
        field.attributes.setdefault('role', cls.role)
        field.attributes.setdefault('read', 'read-only')


def check_readers(cls):
    """A record shows every public field: who reads it must be allowed to read each."""
    record = ROLES.index(cls.get('read', 'read-only'))
    for field in cls.fields:
        if not field.has('internal') and ROLES.index(field.get('read')) < record:
            raise ModelError(f'{field.where}: the record of {cls.name} would show {field.name}')


def need_doc(item):
    if not item.doc:
        raise ModelError(f'{item.where}: say in a line what it is')


def check_type(model, type_, where):
    if type_.kind == 'enum' and type_.name not in model.enums:
        raise ModelError(f'{where}: no such enum: {type_.name}')
    if type_.kind in ('ref', 'record') and type_.name != '<class>' \
            and type_.name not in model.classes:
        raise ModelError(f'{where}: no such class: {type_.name}')
    for part in (type_.key, type_.value):
        if part:
            check_type(model, part, where)


def finish_relation(model, field):
    other_end = field.get('inverse')
    if not other_end:
        return
    cls, _, name = other_end.partition('.')
    other = model.classes[cls].field(name) if cls in model.classes else None
    if not other or other.get('inverse') != f'{field.cls.name}.{field.name}':
        raise ModelError(f'{field.where}: {other_end} does not name {field.name} as its inverse')

    def end(field):
        if field.type.kind == 'ref':
            return 'ONE', field.type.name
        if field.type.kind == 'set' and field.type.value.kind == 'ref':
            return 'MANY', field.type.value.name
        raise ModelError(f'{field.where}: a relation of type {field.type.text}')
    mine, target = end(field)
    theirs, back = end(other)
    if target != other.cls.name or back != field.cls.name or (mine, theirs) == ('ONE', 'ONE') \
            or other is field:
        raise ModelError(f'{field.where}: the two ends of this relation do not fit')
    if mine == 'ONE':
        field.relation = 'MANY_TO_ONE'
    else:
        field.relation = 'ONE_TO_MANY' if theirs == 'ONE' else 'MANY_TO_MANY'
    field.other = other


def automatic_messages(cls):
    """Every message that follows from a class's and its fields' attributes."""
    if not cls.has('stored'):
        return []
    ref, record = f'{cls.name} ref', f'{cls.name} record'
    self_ = ('self', ref)
    reader = cls.get('read', 'read-only')
    out = []

    def add(name, kind, params, result, role, about, *flags):
        origin = about or cls
        attributes = {k: origin.get(k) for k in ('removed', 'deprecated', 'prototype')
                      if origin.has(k)}
        attributes.update(role=role, since=origin.get('since', ''))
        attributes.update({flag: '' for flag in flags})
        message = Message(cls, name, kind, [Param(n, parse_type(t)) for n, t in params],
                          parse_type(result), origin.where, attributes)
        message.field = about
        if kind in ('SET', 'ADD', 'REMOVE'):
            message.key_roles = about.key_roles
        message.doc = automatic_doc(cls, kind, about)
        out.append(message)

    add('get_record', 'GET_RECORD', [self_], record, reader, None)
    add('get_by_uuid', 'GET_BY_UUID', [('uuid', 'string')], ref, reader, None)
    if cls.has('by-name-label'):
        add('get_by_name_label', 'GET_BY_NAME_LABEL', [('label', 'string')], ref + ' set', reader,
            None)
    if cls.has('create-destroy'):
        add('create', 'CREATE', [('args', record)], ref, cls.role, None, 'async')
        add('destroy', 'DESTROY', [self_], 'void', cls.role, None, 'async')
    if cls.has('get-all'):
        many = f'({ref} -> {record}) map'
        add('get_all', 'GET_ALL', [], ref + ' set', reader, None)
        add('get_all_records', 'GET_ALL_RECORDS', [], many, reader, None)
        add('get_all_where', 'GET_ALL_WHERE', [('expr', 'string')], ref + ' set', reader, None,
            'hidden')
        add('get_all_records_where', 'GET_ALL_RECORDS_WHERE', [('expr', 'string')], many, reader,
            None, 'hidden')
    for field in cls.fields:
        if not field.has('internal'):
            field_messages(field, self_, add)
    for name in cls.overrides:
        apply_override(out, cls.overrides[name])
    return out


def field_messages(field, self_, add):
    name, type_ = field.name, field.type
    add('get_' + name, 'GET', [self_], type_.text, field.get('read'), field)
    if field.access != 'rw':
        return
    add('set_' + name, 'SET', [self_, ('value', type_.text)], 'void', field.get('role'), field)
    if type_.kind == 'map':
        key = ('key', type_.key.text)
        add('add_to_' + name, 'ADD', [self_, key, ('value', type_.value.text)], 'void',
            field.get('role'), field)
        add('remove_from_' + name, 'REMOVE', [self_, key], 'void', field.get('role'), field)
    elif type_.kind == 'set':
        value = ('value', type_.value.text)
        add('add_' + name, 'ADD', [self_, value], 'void', field.get('role'), field)
        add('remove_' + name, 'REMOVE', [self_, value], 'void', field.get('role'), field)


def apply_override(messages, override):
    message = next((m for m in messages if m.name == override.name), None)
    if not message:
        raise ModelError(f'{override.where}: no automatic message {override.name} to override')
    message.attributes.update(override.attributes)
    message.key_roles = override.own_key_roles() or message.key_roles
    message.errors = override.errors or message.errors
    message.locks = override.locks or message.locks
    message.doc = override.doc or message.doc


AUTOMATIC_DOCS = {
    'GET': 'Read {field}: {doc}',
    'SET': 'Change {field}: {doc}',
    'ADD': 'Add an entry to {field}: {doc}',
    'REMOVE': 'Remove an entry from {field}, if it is there: {doc}',
    'CREATE': 'Create a {cls} from a record and return its reference.',
    'DESTROY': 'Remove this {cls}.',
    'GET_RECORD': 'All fields of this {cls}.',
    'GET_BY_UUID': 'The {cls} that has this uuid.',
    'GET_BY_NAME_LABEL': 'Every {cls} that has this name.',
    'GET_ALL': 'References of every {cls}.',
    'GET_ALL_RECORDS': 'References and records of every {cls}.',
    'GET_ALL_WHERE': 'References of every {cls} for which the expression holds.',
    'GET_ALL_RECORDS_WHERE': 'References and records of every {cls} for which the expression '
                             'holds.',
}


def automatic_doc(cls, kind, field):
    if field is None:
        return AUTOMATIC_DOCS[kind].format(cls=cls.name)
    doc = field.doc
    if re.match('[A-Z][a-z ]', doc):
        doc = doc[0].lower() + doc[1:]
    return AUTOMATIC_DOCS[kind].format(field=field.name, doc=doc)


# Explicit messages about a field that say nothing themselves read as an automatic one would.
FIELD_PREFIXES = (('add_to_', 'ADD'), ('remove_from_', 'REMOVE'), ('set_', 'SET'), ('get_', 'GET'),
                  ('add_', 'ADD'), ('remove_', 'REMOVE'))


def doc_from_field(message):
    for prefix, kind in FIELD_PREFIXES:
        if message.name.startswith(prefix):
            field = message.cls.field(message.name[len(prefix):])
            if field:
                return automatic_doc(message.cls, kind, field)
    return ''


def finish_message(model, message):
    where = message.where
    message.doc = message.doc or doc_from_field(message)
    need_doc(message)
    message.attributes.setdefault('since', message.cls.get('since', ''))
    set_field = message.cls.field(message.name[4:]) if message.name.startswith('set_') else None
    if set_field:  # who gives a whole map needs the roles of the keys that change
        message.key_roles = set_field.key_roles
    for param in message.params:
        check_type(model, param.type, where)
        if param.default is not None:
            check_default(model, param.type, param.default, where)
    check_type(model, message.result, where)
    message.n_required = sum(param.default is None for param in message.params)
    if any(param.default is None for param in message.params[message.n_required:]):
        raise ModelError(f'{where}: a parameter without default after one that has one')
    for code in message.errors:
        if code not in model.errors:
            raise ModelError(f'{where}: no such error: {code}')
    message.forward_param = -1
    if message.has('on'):
        names = [param.name for param in message.params]
        message.forward_param = names.index(message.get('on'))
    message.operation, message.lock_param = choose_lock(message)


def choose_lock(message):
    """The lock on the message's own class, else the first that an argument names."""
    best = (None, -1)
    for cls, operation in message.locks:
        index = next((i for i, p in enumerate(message.params)
                      if p.type.kind == 'ref' and p.type.name == cls), -1)
        if cls == message.cls.name and index >= 0:
            return operation, index
        if best[0] is None or (best[1] < 0 <= index):
            best = (operation, index)
    return best


# ---- writing C ----

def c_string(text):
    out = []
    for byte in text.encode():
        char = chr(byte)
        if char in '"\\':
            out.append('\\' + char)
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append('\\%03o' % byte)
    return '"%s"' % ''.join(out)


def c_bool(value):
    return 'true' if value else 'false'


def c_role(role):
    return 'XN_ROLE_' + role.upper().replace('-', '_')


def json_text(value):
    return json.dumps(value, separators=(',', ':'), ensure_ascii=False)


def table(numbers):
    lines = []
    for i in range(0, len(numbers), 16):
        lines.append('\t' + ', '.join(str(n) for n in numbers[i:i + 16]) + ',')
    return '\n'.join(lines)


NONE = 'XN_PACKED_NONE'


class Texts:
    """Many texts in one, each once; a text that another ends with lies in that one."""

    def __init__(self, name):
        self.name, self.texts, self.places = name, set(), {}

    def add(self, text):
        self.texts.add(text)

    def lay_out(self):
        at, whole, longer = 0, [], None
        for text in sorted(self.texts, key=lambda t: t.encode()[::-1], reverse=True):
            if longer is not None and longer.endswith(text):
                end = self.places[longer] + len(longer.encode())
                self.places[text] = end - len(text.encode())
                continue
            self.places[text], longer = at, text
            whole.append(text)
            at += len(text.encode()) + 1
        if at >= 0xffff:
            raise ModelError(f'{self.name}: {at} bytes do not fit a place of 16 bits')
        lines = '\n'.join(f'\t{c_string(text)[:-1]}\\0"' for text in whole)
        return f'const char {self.name}[] =\n{lines};\n'

    def place(self, text):
        return NONE if text is None else str(self.places[text])


class Tables:
    """Collects the constants that several rows share, then prints everything in order. Rows are
    made twice: first to see which texts there are, then with the texts' places."""

    def __init__(self, model):
        self.model = model
        self.class_ids = {name: i for i, name in enumerate(model.classes)}
        self.enum_ids = {name: i for i, name in enumerate(model.enums)}
        self.types, self.type_list = {}, []
        self.key_roles, self.error_lists, self.param_lists = {(): 0}, {}, {}
        self.params = []
        self.names, self.docs = Texts('xn_packed_names'), Texts('xn_packed_docs')
        self.is_laid_out = False

    def place(self, texts, text):
        if not self.is_laid_out and text is not None:
            texts.add(text)
        return texts.place(text) if self.is_laid_out else NONE

    def name(self, text):
        return self.place(self.names, text)

    def doc(self, text):
        return self.place(self.docs, text)

    def type(self, type_):
        if type_ is None:
            return NONE
        if type_.text not in self.types:
            for part in (type_.key, type_.value):
                self.type(part)
            self.types[type_.text] = len(self.type_list)
            self.type_list.append(type_)
        return str(self.types[type_.text])

    def key_role_list(self, pairs):
        return self.key_roles.setdefault(tuple(pairs or ()), len(self.key_roles))

    def error_list(self, codes):
        return self.error_lists.setdefault(tuple(codes), len(self.error_lists))

    def param_list(self, params):
        key = tuple((p.name, p.type.text, json.dumps(p.default)) for p in params)
        if params and key not in self.param_lists:
            self.param_lists[key] = len(self.params)
            for param in params:
                self.type(param.type)
            self.params += params
        return self.param_lists.get(key, 0)

    def type_rows(self):
        rows = []
        for type_ in self.type_list:
            enumeration = self.enum_ids[type_.name] if type_.kind == 'enum' else 0
            class_id = self.class_ids.get(type_.name, -1) if type_.kind in ('ref', 'record') else -1
            rows.append(f'\t{{XN_T_{type_.kind.upper()}, {enumeration}, {class_id}, '
                        f'{self.type(type_.key)}, {self.type(type_.value)}, '
                        f'{self.name(type_.text)}}},')
        return rows

    def field_row(self, field):
        default = default_of(self.model, field)
        other = ('-1', '-1')
        if field.other:
            cls = field.other.cls.name
            other = (f'XN_CLASS_{cls}', f'XN_{cls}_{field.other.name}')
        access = {'rw': 'XN_FIELD_RW', 'once': 'XN_FIELD_RO_CONSTRUCTOR',
                  'ro': 'XN_FIELD_RO_RUNTIME'}
        return (f'\t{{{self.name(field.name)}, {self.name(field.db_name)}, '
                f'{self.type(field.type)}, {self.name(json_text(default))}, '
                f'{other[0]}, {other[1]},\n\t {access[field.access]}, '
                f'XN_{field.lifecycle.upper()}, {c_bool(field.has("internal"))}, '
                f'{c_bool(not field.has("volatile"))}, {c_bool(field.required)},\n\t '
                f'XN_REL_{field.relation}, {c_role(field.get("read"))}, '
                f'{c_role(field.get("role"))}, {self.key_role_list(field.key_roles)}, '
                f'{self.doc(field.doc)}}},')

    def param_row(self, param):
        default = None if param.default is None else json_text(param.default)
        return f'\t{{{self.name(param.name)}, {self.type(param.type)}, {self.name(default)}}},'

    def method_row(self, message):
        field = f'XN_{message.cls.name}_{message.field.name}' if message.field else '-1'
        name, doc = message.name, message.doc
        if message.kind in FIELD_KINDS:
            name = name[:-len(message.field.name)]
        if message.kind != 'EXPLICIT' and doc == automatic_doc(message.cls, message.kind,
                                                               message.field):
            doc = None
        return (f'\t{{XN_CLASS_{message.cls.name}, XN_M_{message.kind}, {field}, '
                f'{self.name(name)}, {self.param_list(message.params)}, '
                f'{self.type(message.result)}, {method_flags(message)},\n\t '
                f'{len(message.params)}, {message.n_required}, {c_role(message.role)}, '
                f'{self.key_role_list(message.key_roles)}, {message.forward_param}, '
                f'{message.lock_param}, {self.name(message.operation)}, '
                f'{self.error_list(message.errors)}, {self.doc(doc)}}},')

    def packed_rows(self):
        fields = [f for cls in self.model.classes.values() for f in cls.fields]
        packed = {'field': [self.field_row(field) for field in fields],
                  'method': [self.method_row(message) for message in self.model.messages]}
        packed['param'] = [self.param_row(param) for param in self.params]
        packed['type'] = self.type_rows()
        return packed

    def print_packed(self, out):
        self.packed_rows()
        out += [self.names.lay_out(), self.docs.lay_out()]
        self.is_laid_out = True
        for kind, rows in self.packed_rows().items():
            out.append(f'const struct xn_packed_{kind} xn_packed_{kind}s[] = {{')
            out += rows + ['};\n']

    def print_enums(self, out):
        if len(self.model.enums) > 256:
            raise ModelError('more enums than struct xn_packed_type counts')
        for enum in self.model.enums.values():
            values = ', '.join(c_string(v) for v in enum.values)
            out.append(f'static const char *const values_{enum.name}[] = {{{values}}};')
        out.append('static const struct xn_enum enums[] = {')
        for enum in self.model.enums.values():
            out.append(f'\t{{"{enum.name}", values_{enum.name}, {len(enum.values)}}},')
        out.append('};\nconst struct xn_enum *const xn_enums[] = {')
        out += [f'\t&enums[{i}],' for i in range(len(self.model.enums))]
        out.append(f'}};\nconst unsigned xn_n_enums = {len(self.model.enums)};\n')

    def print_classes(self, out, offsets):
        out.append('const struct xn_class xn_classes[XN_CLASS_COUNT] = {')
        for cls, offset in zip(self.model.classes.values(), offsets):
            out.append(self.class_row(cls, offset))
        out.append('};\n')

    def class_row(self, cls, offset):
        public = sum(not f.has('internal') for f in cls.fields)

        def index(name):
            return next((i for i, f in enumerate(cls.fields) if f.name == name), -1)
        fields = f'&xn_expanded.fields[{offset}]' if cls.fields else 'NULL'
        return (f'\t[XN_CLASS_{cls.name}] = {{XN_CLASS_{cls.name}, "{cls.name}", '
                f'"{cls.name.lower()}", {fields}, {len(cls.fields)}, {public}, '
                f'{index("uuid")}, {index("name_label")},\n\t '
                f'.in_database = {c_bool(cls.has("stored"))}, '
                f'.persistent = {c_bool(cls.has("persistent"))}, '
                f'.has_events = {c_bool(cls.has("events"))}, '
                f'.has_create_destroy = {c_bool(cls.has("create-destroy"))},\n\t '
                f'.has_get_all = {c_bool(cls.has("get-all"))}, '
                f'.has_get_by_name_label = {c_bool(cls.has("by-name-label"))}, '
                f'.internal = {c_bool(cls.has("internal"))}, '
                f'.lifecycle = XN_{cls.lifecycle.upper()},\n\t .doc = {c_string(cls.doc)}}},')

    def print_shared(self, out):
        for pairs, number in self.key_roles.items():
            rows = ', '.join(f'{{{c_string(k)}, {c_role(r)}}}' for k, r in pairs)
            if pairs:
                out.append(f'static const struct xn_key_role key_roles_{number}[] = {{{rows}, '
                           '{NULL, XN_ROLE_COUNT}};')
        for codes, number in self.error_lists.items():
            rows = ''.join(f'XN_ERR_{code}, ' for code in codes)
            out.append(f'static const char *const errors_{number}[] = {{{rows}NULL}};')
        lists = ''.join(f', key_roles_{number}' for number in range(1, len(self.key_roles)))
        out.append(f'const struct xn_key_role *const xn_packed_key_roles[] = {{NULL{lists}}};')
        lists = ', '.join(f'errors_{number}' for number in self.error_lists.values())
        out.append(f'const char *const *const xn_packed_errors[] = {{{lists}}};')

    def print_kind_docs(self, out):
        marks = {'cls': '\1', 'field': '\2', 'doc': '\3'}
        out.append('const char *const xn_packed_kind_docs[] = {')
        for kind, doc in AUTOMATIC_DOCS.items():
            out.append(f'\t[XN_M_{kind}] = {c_string(doc.format(**marks))},')
        out.append('};\n')

    def print_errors(self, out):
        out.append('const struct xn_error_info xn_errors[] = {')
        for error in sorted(self.model.errors.values(), key=lambda e: e.code):
            params = ','.join(error.params)
            out.append(f'\t{{XN_ERR_{error.code}, {c_string(params)}, {c_string(error.doc)}}},')
        out.append(f'}};\nconst unsigned xn_n_errors = {len(self.model.errors)};\n')

    def print_all(self):
        offsets, body = [0], []
        for cls in self.model.classes.values():
            offsets.append(offsets[-1] + len(cls.fields))
        self.print_packed(body)
        self.print_classes(body, offsets)
        self.print_errors(body)
        body.append('const char *const xn_role_names[XN_ROLE_COUNT] = {')
        body += [f'\t[{c_role(role)}] = "{role}",' for role in ROLES]
        body.append('};\n')
        body.append('const unsigned xn_field_offsets[XN_CLASS_COUNT + 1] = {')
        body.append(table(offsets) + '\n};\n')
        self.print_kind_docs(body)

        head = [GENERATED, '#include "core/schema/schema_internal.h"\n']
        self.print_enums(head)
        self.print_shared(head)
        return '\n'.join(head + body)

    def text_bytes(self):
        """What expand.c writes: each name, and the docs that no text file tells."""
        size = 0
        for message in self.model.messages:
            size += len(message.full_name) + 1
            automatic = message.kind != 'EXPLICIT' and automatic_doc(message.cls, message.kind,
                                                                     message.field)
            if message.doc == automatic:
                size += len(automatic.encode()) + 1
        return size

    def counts(self):
        return {'TYPES': len(self.type_list), 'PARAMS': len(self.params),
                'FIELDS': sum(len(cls.fields) for cls in self.model.classes.values()),
                'METHODS': len(self.model.messages), 'TEXT_BYTES': self.text_bytes()}


FIELD_KINDS = ('GET', 'SET', 'ADD', 'REMOVE')
GENERATED = '/* Made by core/schema/gen.py from the text files beside it: change those. */'


def default_of(model, field):
    """What the field starts with; None for what is only in results and in no row."""
    if field.default is not None:
        return field.default
    return None if field.type.kind in ('option', 'record') else empty_value(model, field.type)


def method_flags(message):
    names = ['async', 'hidden', 'no-session', 'pool-internal', 'secret', 'emergency',
             'no-current-operations', 'own-result', 'client-cert']
    flags = ['XN_MF_' + n.upper().replace('-', '_') for n in names if message.has(n)]
    if message.lifecycle == 'removed':
        flags.append('XN_MF_REMOVED')
    if message.get('upstream') == 'deprecated':
        flags.append('XN_MF_DEPRECATED_UPSTREAM')
    return ' | '.join(flags) or '0'


def print_ids(model, counts):
    out = [GENERATED, '#ifndef XN_SCHEMA_IDS_H', '#define XN_SCHEMA_IDS_H', '',
           'enum xn_class_id {']
    out += [f'\tXN_CLASS_{name},' for name in model.classes]
    out += ['\tXN_CLASS_COUNT', '};', '']
    seen = {}
    for cls in model.classes.values():
        if not cls.fields:
            continue
        out.append('enum {')
        for field in cls.fields:
            name = f'XN_{cls.name}_{field.name}'
            if name in seen:
                raise ModelError(f'{field.where}: {name} also comes from {seen[name]}')
            seen[name] = field.where
            out.append(f'\t{name},')
        out += ['};', '']
    most = max(len(message.params) for message in model.messages)
    out += ['/* The longest parameter list, without the session. */',
            f'#define XN_SCHEMA_MAX_PARAMS {most}', '']
    out += [f'#define XN_SCHEMA_{name} {count}' for name, count in counts.items()] + ['']
    return '\n'.join(out + ['#endif', ''])


def print_errors(model):
    out = [GENERATED, '#ifndef XN_SCHEMA_ERRORS_H', '#define XN_SCHEMA_ERRORS_H', '']
    for error in sorted(model.errors.values(), key=lambda e: e.code):
        out.append(f'#define XN_ERR_{error.code} "{error.code}"')
    return '\n'.join(out + ['', '#endif', ''])


# ---- writing JSON ----

def json_type(type_):
    out = {'kind': type_.kind, 'text': type_.text}
    if type_.name:
        out['name'] = type_.name
    if type_.key:
        out['key'] = json_type(type_.key)
    if type_.value:
        out['value'] = json_type(type_.value)
    return out


def json_field(model, field):
    return {'name': field.name, 'db_name': field.db_name, 'type': json_type(field.type),
            'access': field.access, 'lifecycle': field.lifecycle, 'internal': field.has('internal'),
            'required': field.required, 'default': default_of(model, field),
            'relation': field.relation,
            'inverse': field.get('inverse'), 'role_read': field.get('read'),
            'role_write': field.get('role'), 'key_roles': dict(field.key_roles),
            'since': field.get('since'), 'doc': field.doc}


def json_message(message):
    params = [{'name': p.name, 'type': json_type(p.type), 'default': p.default,
               'optional': p.default is not None} for p in message.params]
    return {'name': message.full_name, 'class': message.cls.name, 'kind': message.kind,
            'field': message.field.name if message.field else None, 'params': params,
            'required': message.n_required, 'result': json_type(message.result),
            'role': message.role, 'client_cert': message.has('client-cert'),
            'key_roles': dict(message.key_roles), 'async': message.has('async'),
            'hidden': message.has('hidden'), 'session': not message.has('no-session'),
            'pool_internal': message.has('pool-internal'), 'secret': message.has('secret'),
            'emergency': message.has('emergency'), 'lifecycle': message.lifecycle,
            'upstream': message.get('upstream'), 'locks': message.locks,
            'errors': message.errors, 'since': message.get('since'), 'doc': message.doc}


def print_json(model):
    classes = []
    for cls in model.classes.values():
        classes.append({'name': cls.name, 'stored': cls.has('stored'), 'events': cls.has('events'),
                        'create_destroy': cls.has('create-destroy'), 'get_all': cls.has('get-all'),
                        'by_name_label': cls.has('by-name-label'), 'internal': cls.has('internal'),
                        'lifecycle': cls.lifecycle, 'since': cls.get('since'), 'doc': cls.doc,
                        'fields': [json_field(model, f) for f in cls.fields]})
    return json.dumps({
        'classes': classes,
        'messages': [json_message(m) for m in model.messages],
        'enums': {e.name: e.values for e in model.enums.values()},
        'errors': {e.code: e.params for e in model.errors.values()},
        'roles': ROLES,
    }, indent=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--source', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('classes', nargs='+')
    args = parser.parse_args()
    try:
        model = read_model(args.source, args.classes)
        tables = Tables(model)
        outputs = {'schema_tables.c': tables.print_all(), 'ids.h': print_ids(model, tables.counts()),
                   'errors.h': print_errors(model), 'schema.json': print_json(model)}
    except ModelError as problem:
        sys.exit(f'{problem}')
    for name, text in outputs.items():
        with open(os.path.join(args.out, name), 'w', encoding='utf-8') as file:
            file.write(text)


if __name__ == '__main__':
    main()
