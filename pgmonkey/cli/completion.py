"""``pgmonkey completion``: static scripts for bash, zsh and fish, made from the command table.

The scripts start no process while a user types, and know nothing that the table does not.
bash and zsh get the same case lists; fish has a notation of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgmonkey.cli.commands import COMMANDS, GROUPS, Command, members
from pgmonkey.cli.exits import OK
from pgmonkey.cli.options import Option
from pgmonkey.cli.output import Output

FILES = "PATH"  # the metavar of options that take a file

_BASH = """\
# bash completion for pgmonkey; source it, or put it where bash-completion looks.
_pgmonkey() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}"
    # bash takes --format=json for three words
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    local command= word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${command:+$command }${COMP_WORDS[i]}"
        case "$word" in
            @NAMES@) command="$word" ;;
        esac
    done
    COMPREPLY=()
    case "$command $prev" in
@VALUES@
    esac
    local flags= words=
    case "$command" in
@WORDS@
    esac
    [[ $cur == -* ]] && words="$flags"
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
# Where there is nothing to offer, file names are.
complete -o default -F _pgmonkey pgmonkey
"""

_ZSH = """\
#compdef pgmonkey
# zsh completion for pgmonkey; put it into a folder of $fpath as _pgmonkey.
_pgmonkey() {
    local cur="${words[CURRENT]}" prev="${words[CURRENT - 1]}"
    local command= word i
    for ((i = 2; i < CURRENT; i++)); do
        word="${command:+$command }${words[i]}"
        case "$word" in
            @NAMES@) command="$word" ;;
        esac
    done
    case "$command $prev" in
@VALUES@
    esac
    local -a flags offered
    case "$command" in
@WORDS@
    esac
    [[ $cur == -* ]] && offered=($flags)
    if ((${#offered})); then compadd -a offered; else _files; fi
}
if [[ $funcstack[1] == _pgmonkey ]]; then _pgmonkey; else compdef _pgmonkey pgmonkey; fi
"""

_FISH = """\
# fish completion for pgmonkey; put it into ~/.config/fish/completions/pgmonkey.fish.
function __pgmonkey_at
    set -l command
    for word in (commandline -opc)[2..]
        if contains -- (string join ' ' -- $command $word) @NAMES@
            set -a command $word
        end
    end
    test "$command" = "$argv"
end
"""


def completion(*, shell: str, out: Output) -> int:
    """Print the script for *shell*."""
    out.result({"bash": bash, "zsh": zsh, "fish": fish}[shell]())
    return OK


def names() -> list[str]:
    """Return everything that can stand after ``pgmonkey``, groups first."""
    return [*(group.name for group in GROUPS), *(command.name for command in COMMANDS)]


def bash() -> str:
    """Return the script for bash 3.2 and newer."""
    offers = "COMPREPLY=($(compgen -W '{}' -- \"$cur\"))"
    words = [
        f"        '{name}') flags='{flags}' words='{rest}' ;;" for name, flags, rest in _words()
    ]
    return _filled(_BASH, _values(offers, "return"), words)


def zsh() -> str:
    """Return the script for zsh."""
    words = [
        f"        '{name}') flags=({flags}) offered=({rest}) ;;" for name, flags, rest in _words()
    ]
    return _filled(_ZSH, _values("compadd -- {}", "_files"), words)


def fish() -> str:
    """Return the script for fish 3 and newer."""
    lines = [_FISH.replace("@NAMES@", " ".join(map(_quoted, names()))), "complete -c pgmonkey -f"]
    for group in GROUPS:
        lines.append(_fish("", f"-a {group.name} -d {_quoted(group.says)}"))
        lines += [
            _fish(group.name, f"-a {c.name.split()[-1]} -d {_quoted(c.says)}")
            for c in members(group)
        ]
    for command in COMMANDS:
        if " " not in command.name:
            lines.append(_fish("", f"-a {command.name} -d {_quoted(command.says)}"))
        lines += [_fish(command.name, _fish_option(o)) for o in command.options if not o.positional]
        if any(option.positional for option in command.options):
            words = " ".join(_arguments(command))
            lines.append(_fish(command.name, f"-a {_quoted(words)}" if words else "-F"))
    lines += [_fish("", "-l version -d 'the version'"), _fish("", "-s h -l help -d 'this text'")]
    return "\n".join((*lines, ""))


def _filled(script: str, values: list[str], words: list[str]) -> str:
    known = " | ".join(f"'{name}'" for name in names())
    script = script.replace("@NAMES@", known).replace("@VALUES@", "\n".join(values))
    return script.replace("@WORDS@", "\n".join(words))


def _values(offer: str, files: str) -> list[str]:
    """Return the case lines for the value after an option; *files* leaves it to the shell."""
    lines = []
    for command in COMMANDS:
        for option in command.options:
            if option.positional or option.metavar is None:
                continue
            patterns = " | ".join(f"'{command.name} {flag}'" for flag in option.flags)
            action = offer.format(" ".join(option.choices)) if option.choices else files
            lines.append(f"        {patterns})")
            lines.append(f"            {action}" + ("" if action == "return" else "; return"))
            lines.append("            ;;")
    return lines


def _words() -> Iterator[tuple[str, str, str]]:
    """Yield each name with the options and with the words that may follow it."""
    singles = [name for name in names() if " " not in name]
    yield "", "-h --help --version", " ".join(singles)
    for group in GROUPS:
        yield group.name, "-h --help", " ".join(c.name.split()[-1] for c in members(group))
    for command in COMMANDS:
        flags = [flag for o in command.options if not o.positional for flag in o.flags]
        yield command.name, " ".join(flags), " ".join(_arguments(command))


def _arguments(command: Command) -> list[str]:
    if command.name == "help":
        return [*(name for name in names() if " " not in name), "exit-codes", "environment"]
    return [choice for o in command.options if o.positional for choice in o.choices]


def _fish(at: str, what: str) -> str:
    return f"complete -c pgmonkey -n {_quoted(f'__pgmonkey_at {at}'.strip())} {what}"


def _fish_option(option: Option) -> str:
    flags = " ".join(
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
    )
    text = f"{flags} -d {_quoted(option.help)}"
    if option.metavar is None:
        return text
    if option.choices:
        return f"{text} -x -a {_quoted(' '.join(option.choices))}"
    return f"{text} -r -F" if option.metavar == FILES else f"{text} -x"


def _quoted(text: str) -> str:
    """Quote for fish, where only the backslash and the quote itself mean something."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
