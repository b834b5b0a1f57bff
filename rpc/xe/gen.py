#!/usr/bin/env python3
"""Turns commands.txt into commands_table.c: the rows, and one string that all their texts are in.

    gen.py COMMANDS.TXT SCHEMA.JSON OUT.C

The grammar is told at the head of commands.txt. What names no message of the model, or gives it
another number of arguments than it takes, fails the build.
"""
import json
import re
import sys

FLAGS = ['standard', 'hidden', 'deprecated', 'vm-selectors', 'host-selectors', 'sr-selectors',
         'templates', 'snapshots', 'dom0', 'local', 'operation', 'no-login', 'together', 'single',
         'itself', 'every']
LINES = ['required', 'optional', 'do', 'calls', 'needs', 'example', 'group']
TEXTS = ['name', 'doc', 'required', 'optional', 'do', 'calls', 'example', 'deprecated', 'group']


class Wrong(Exception):
    pass


def parse(path):
    commands, command = [], None
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        line = line.rstrip('\n')
        if not line.strip() or line.startswith('#'):
            continue
        try:
            if line.startswith('command '):
                command = parse_head(line)
                commands.append(command)
            else:
                parse_line(command, line.strip())
        except (Wrong, ValueError, TypeError) as e:
            sys.exit(f'{path}:{number}: {e}')
    names = [c['name'] for c in commands]
    for name in names:
        if names.count(name) > 1:
            sys.exit(f'{path}: {name} twice')
    return commands


def parse_head(line):
    head, _, words = line.partition(' | ')
    command = {'name': head.split()[1], 'flags': []}
    for word in words.split():
        key, _, value = word.partition('=')
        if key not in FLAGS:
            raise Wrong(f'no such word: {key}')
        command['flags'].append(key)
        if value:
            command[key] = value.replace('_', ' ')
    return command


def parse_line(command, line):
    key, colon, rest = line.partition(':')
    if colon and key in LINES:
        if key == 'example':
            command['example'] = command.get('example', '') + rest.strip() + '\n'
        else:
            command[key] = ' '.join(rest.split())
    elif 'doc' in command:
        raise Wrong(f'a second description, or an unknown line: {line}')
    else:
        command['doc'] = line


def check(command, messages):
    """What a command says is there is there, and what it does can be called so."""
    calls = (command.get('calls', '') + ' ' + command.get('needs', '')).split()
    for call in calls:
        if call != '-' and call not in messages and not call.startswith('/'):
            raise Wrong(f'no such message: {call}')
    if 'calls' in command:
        command['calls'] = command['calls'].replace('-', '').strip()
        command['run'] = 'xe_cmd_' + re.sub(r'[^a-z0-9]', '_', command['name'])
    if 'do' in command:
        match = re.fullmatch(r'([\w.]+)\((.*)\)', command['do'])
        if not match or match[1] not in messages:
            raise Wrong(f"no call of a message: {command['do']}")
        n = len([a for a in match[2].split(',') if a.strip()])
        params = messages[match[1]]['params']
        if n > len(params) or n < sum(not p['optional'] for p in params):
            raise Wrong(f'{match[1]} does not take {n} arguments')
        command['calls'] = match[1]
        command['run'] = 'xe_run_do'
    if 'run' in command and 'doc' not in command:
        raise Wrong('no description')


class Texts:
    def __init__(self):
        self.bytes, self.at = '', {'': 0}

    def add(self, text):
        if text not in self.at:
            self.at[text] = len(self.bytes) + 1
            self.bytes += '\0' + text
        return self.at[text]


def quote(text):
    return ''.join({'\n': '\\n', '"': '\\"', '\\': '\\\\', '\0': '\\0'}.get(c, c) for c in text)


def write(commands, out):
    texts, rows = Texts(), []
    for c in sorted(commands, key=lambda c: c['name']):
        offsets = ', '.join(str(texts.add(c.get(t, ''))) for t in TEXTS)
        flags = sum(1 << FLAGS.index(f) for f in c['flags'])
        rows.append(f"\t{{{offsets}, {flags}, {c.get('run', 'NULL')}}},")
    handlers = sorted({c['run'] for c in commands if 'run' in c})
    pieces = [texts.bytes[i:i + 80] for i in range(0, len(texts.bytes), 80)]
    # "\0" "12" must not become "\012": a piece never ends in the middle of what it escapes.
    blob = '\n'.join('\t"' + quote(p).replace('\\0', '\\000') + '"' for p in pieces)
    with open(out, 'w', encoding='utf-8') as f:
        f.write('/* Made from commands.txt by gen.py. */\n#include "rpc/xe/commands.h"\n\n')
        f.write('\n'.join(f'xe_handler {h};' for h in handlers))
        f.write(f'\n\nconst char xe_command_texts[] =\n{blob};\n\n')
        f.write('const struct xe_command_row xe_command_rows[] = {\n' + '\n'.join(rows) + '\n};\n')
        f.write(f'const unsigned xe_n_command_rows = {len(rows)};\n')


def main():
    source, schema, out = sys.argv[1:]
    with open(schema, encoding='utf-8') as f:
        messages = {m['name']: m for m in json.load(f)['messages']}
    commands = parse(source)
    for command in commands:
        try:
            check(command, messages)
        except Wrong as e:
            sys.exit(f"{source}: {command['name']}: {e}")
    write(commands, out)


main()
