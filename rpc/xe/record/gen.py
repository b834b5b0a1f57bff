#!/usr/bin/env python3
"""Turns records.txt and the schema into the tables of record.c. Runs at build time.

    gen.py --schema schema.json --records records.txt --tables record_tables.h --printers record_printers.h

What the lines of records.txt mean is said there. The tables hold offsets into one string and numbers
of fields: no pointers, eight bytes a field.
"""
import argparse
import json
import re

SHAPES = {'scalar': 0, 'set': 1, 'map': 2}
PRINTERS = ['plain', 'commas', 'unknown', 'not-there', 'nothing', 'else-false', 'else-time', 'all-true',
            'live-only', 'quoted', 'not-set', 'reference-texts', 'empty-drive', 'only-one', 'mbit',
            'duplex', 'resolution', 'lengths', 'by-name', 'is-self', 'no-error']
FIXED = {'<unknown>': 'unknown', '<not in database>': 'not-there', '<>': 'nothing'}
FLAGS = ['set', 'add', 'remove', 'set-key', 'clear', 'expensive', 'hidden', 'deprecated', 'any-case',
         'commas', 'call']
NONE = 255
HOSTS = 254


class Wrong(Exception):
    pass


class Schema:
    def __init__(self, path):
        with open(path) as file:
            text = json.load(file)
        self.classes = {c['name']: c for c in text['classes']}
        self.messages = {m['name']: m for m in text['messages'] if m['lifecycle'] != 'removed'}
        self.enums = text['enums']

    def field(self, cls, name, any_case=True):
        """Number and description of a field; the spelling of @name comes first."""
        fields = [f for f in self.classes[cls]['fields'] if not f['internal']]
        for same in (lambda f: f['name'] == name,
                     lambda f: any_case and f['name'].lower() == name.lower()):
            for i, field in enumerate(fields):
                if same(field):
                    return i, field
        return None, None


def referred(field):
    """The class that a reference, or a set of them, is of."""
    type_ = field['type']
    if type_['kind'] == 'set':
        type_ = type_['value']
    return type_.get('name') if type_['kind'] == 'ref' else None


def singular(name):
    return name[:-3] + 'y' if name.endswith('ies') else name[:-1] if name.endswith('s') else name


class Field:
    def __init__(self, schema, cls, line):
        self.schema, self.cls = schema, cls
        line, _, flags = line.partition('|')
        self.name, _, source = (part.strip() for part in line.partition('='))
        self.words = flags.split()
        self.path, self.last, self.call, self.printer = [NONE] * 3, None, None, 'plain'
        self.own = None  # the name that messages have for it
        if source.startswith('<'):
            self.printer = FIXED[source]
            self.type = {'kind': 'void'}
        elif '(' in source:
            self.call = (source[:source.index('(')], 'self' in source)
            self.type = schema.messages[self.call[0]]['result'] or {'kind': 'void'}
        else:
            self.follow(source.split('.') if source else self.derive())
        for word in self.words:
            if word in PRINTERS and word != 'commas':
                self.printer = word
        self.flags = self.derive_flags()

    def derive(self):
        name = self.name.replace('-', '_')
        find = lambda wanted: self.schema.field(self.cls, wanted)[1]
        if find(name):
            return [find(name)['name']]
        for part in ('name_label', 'model_name'):
            field = find(name[:-len(part) - 1]) if name.endswith('_' + part) else None
            if field and referred(field):
                return [field['name'], part]
        for suffix, plural in (('_uuids', 's'), ('_uuid', '')):
            if name.endswith(suffix) and find(name[:-len(suffix)] + plural):
                return [find(name[:-len(suffix)] + plural)['name']]
        for via in ('metrics', 'guest_metrics'):
            field = find(via)
            behind = self.schema.field(referred(field), name)[1] if field else None
            if behind:
                return [field['name'], behind['name']]
        raise Wrong(f'{self.cls}: nothing is called {self.name}')

    def follow(self, names):
        cls, is_set = self.cls, False
        if names[0] == 'all-hosts':
            self.path[0] = HOSTS
            cls, names = 'host', [None] + names[1:]
        for i, name in enumerate(names):
            if name is None:
                continue
            if cls is None:
                raise Wrong(f'{self.cls} {self.name}: {name} is not behind a reference')
            self.path[i], field = self.schema.field(cls, name, False)
            if field is None or self.path[i] >= HOSTS:
                raise Wrong(f'{cls} has no {name}')
            is_set = is_set or field['type']['kind'] == 'set'
            self.type, cls, self.last = field['type'], referred(field), field['name']
        if is_set and self.type['kind'] != 'set':
            self.type = {'kind': 'set', 'value': self.type}
        if len(names) == 1 or names[0] is None:
            self.own = names[-1]

    def derive_flags(self):
        words, flags = self.words, set()
        kind = self.type['kind']
        self.shape = kind if kind in ('set', 'map') else 'scalar'
        if self.own == 'current_operations':
            self.shape = 'set'
        for shape in SHAPES:
            if 'as-' + shape in words:
                self.shape = shape
        if 'as-text' in words:
            self.shape = 'scalar'
        if self.own and 'read-only' not in words:
            flags |= self.messages_allow()
        if 'settable' in words:
            flags.add('set')
        if 'members' in words:
            flags |= {'add', 'remove'}
        if 'keys' in words:
            flags.add('set-key')
        if self.call:
            flags.add('call')
        if 'commas' in words or self.name == 'tags':
            flags.add('commas')
        return flags | {w for w in words if w in ('clear', 'expensive', 'hidden', 'deprecated', 'any-case')}

    def messages_allow(self):
        has = lambda message: f'{self.cls}.{message}' in self.schema.messages
        if self.shape == 'scalar':
            return {'set'} if self.path[0] != HOSTS and has('set_' + self.own) else set()
        if self.shape == 'map':
            return {'add', 'remove'} if has('add_to_' + self.own) else set()
        if has('add_' + self.own) or has('add_' + singular(self.own)):
            return {'add', 'remove'}
        return set()


class Kind:
    def __init__(self, prefix, cls, only):
        self.prefix, self.cls, self.only = prefix, cls, only
        self.fields, self.columns, self.like = [], set(), None


def read(path, schema):
    kinds, enums, kind = {}, {}, None
    text = re.sub(r'\n\t(?=\w+=)', ' ', open(path).read()) # an enum goes on
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith('#'):
            continue
        if line.startswith('enum '):
            name, _, values = line[5:].partition(':')
            enums[name] = dict(v.split('=') for v in values.split())
        elif line.startswith('record '):
            head, _, only = line[7:].partition('|')
            words = head.split()
            kind = Kind(words[0], words[1], [w.split('=') for w in only.split()[1:]])
            kinds[kind.prefix] = kind
            if 'like' in words:
                kind.like = kinds[words[3]]
                kind.fields = kind.like.fields
        elif bare.startswith('columns '):
            kind.columns = set(bare.split()[1:])
        else:
            field = Field(schema, kind.cls, bare.lstrip('* '))
            kind.fields.append(field)
            if bare.startswith('* '):
                kind.columns.add(field.name)
    return kinds, enums


def shown(value, texts):
    for pattern, text in texts.items():
        if pattern == value:
            return text.replace('_', ' ')
        if pattern.endswith('*') and value.startswith(pattern[:-1]):
            return text[:-1] + value[len(pattern) - 1:]
    return value


class Strings:
    """All names in one string, each once, and as the end of another where it is that."""

    def __init__(self, texts):
        self.text, self.at = '', {}
        for text in sorted(set(texts), key=lambda t: (-len(t), t)):
            found = (self.text + '\0').find(text + '\0')
            if found < 0:
                found = len(self.text)
                self.text += text + '\0'
            self.at[text] = found


def enum_of(field):
    type_ = field.type
    while type_['kind'] in ('set', 'map'):
        type_ = type_['value']
    return type_.get('name') if type_['kind'] == 'enum' else None


def ident(text):
    return re.sub(r'\W', '_', text)


def write(kinds, enums, schema, out):
    ordered = sorted(kinds.values(), key=lambda k: k.prefix.encode())
    used = sorted(enums)
    enum_texts = {e: [shown(v, enums[e]) for v in schema.enums[e]] for e in used}
    calls = sorted({f.call for k in ordered for f in k.fields if f.call})
    strings = Strings([f.name for k in ordered for f in k.fields] + list(kinds) +
                      [t for e in used for t in enum_texts[e]] + [c[0] for c in calls] +
                      [value for k in ordered for _, value in k.only])
    p = lambda *a: print(*a, file=out)
    p('/* Made by gen.py from records.txt and the schema. */')
    p('static const char xe_strings[] =')
    for part in strings.text.split('\0')[:-1]:
        p(f'\t"{part}\\0"')
    p(';')
    p('static const uint16_t xe_enum_values[] = {')
    begins, at = {}, 0
    for e in used:
        begins[e] = at
        at += len(enum_texts[e])
        p('\t' + ' '.join(f'{strings.at[t]},' for t in enum_texts[e]) + f' /* {e} */')
    p('};')
    p('static const uint16_t xe_enum_texts[] = {' + ', '.join(str(begins[e]) for e in used) + '};')
    p('static const struct xe_call_row xe_calls[] = {')
    for name, has_self in calls:
        p(f'\t{{{strings.at[name]}, {int(has_self)}}}, /* {name} */')
    p('};')
    p('static const struct xe_field xe_fields[] = {')
    first, n = {}, 0
    for kind in ordered:
        if kind.like:
            continue
        first[kind.prefix] = n
        for field in kind.fields:
            n += 1
            path = list(field.path)
            if field.call:
                path[0] = calls.index(field.call)
            printer = field.printer
            enum = enum_of(field)
            if printer == 'plain' and enum in used:
                printer = f'XE_PRINT_ENUM + {used.index(enum)}'
            else:
                printer = 'XE_PRINT_' + ident(printer).upper()
            flags = SHAPES[field.shape] | sum(4 << FLAGS.index(f) for f in field.flags)
            p(f'\t{{{strings.at[field.name]}, {flags:#06x}, {{{path[0]}, {path[1]}, {path[2]}}}, {printer}}},'
              f' /* {kind.prefix} {field.name} */')
    p('};')
    p('static const struct xe_kind xe_kinds[] = {')
    for kind in ordered:
        names = [f.name for f in kind.fields]
        if len(names) > 128 or kind.columns - set(names) or sum(bool(f.call) for f in kind.fields) > 8:
            raise Wrong(f'{kind.prefix}: {len(names)} fields, {kind.columns - set(names)}')
        bits = sum(1 << names.index(c) for c in kind.columns)
        only = [f'{{{names.index(f)}, {strings.at[v]}}}' for f, v in kind.only]
        only += ['{255, 0}'] * (2 - len(only))
        begin = first[kind.like.prefix if kind.like else kind.prefix]
        p(f'\t{{{{{{{bits & (1 << 64) - 1:#x}u, {bits >> 64:#x}u}}}}, {strings.at[kind.prefix]}, '
          f'{begin}, XN_CLASS_{kind.cls}, {len(names)}, {{{", ".join(only)}}}}}, /* {kind.prefix} */')
    p('};')


def write_printers(out):
    p = lambda *a: print(*a, file=out)
    p('/* Made by gen.py: how records.txt says that a field is printed. */')
    p('enum xe_printer {')
    for name in PRINTERS:
        p(f'\tXE_PRINT_{ident(name).upper()},')
    p('\tXE_PRINT_ENUM, /* and on: the enums of records.txt, in order */')
    p('};')


def main():
    parser = argparse.ArgumentParser()
    for name in ('--schema', '--records', '--tables', '--printers'):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    schema = Schema(args.schema)
    with open(args.tables, 'w') as out:
        write(*read(args.records, schema), schema, out)
    with open(args.printers, 'w') as out:
        write_printers(out)


main()
