/// What is known of a program by its name: whether its arguments name code.
enum ProgramKind: Sendable, Equatable {
    /// Runs a script that its first argument names, and takes code in options: `python3`, `sh`, `java`.
    case interpreter
    /// Runs the command that follows its own arguments: `env`, `nice`, `timeout`.
    case wrapper
    /// Runs whatever a project's files say: `npm`, `make`, `gunicorn`.
    case runner
    /// Not known; its arguments are its own affair.
    case other

    init(_ program: String) {
        var name = program.split(separator: "/").last.map(String.init) ?? program
        if name.hasSuffix(".exe") { name.removeLast(4) }
        // python3.12, ruby2.7, lua5.4, php8.2, qemu-x86_64
        let stem = String(name.prefix { !$0.isNumber }).lowercased()
        let bare = stem.hasSuffix("-") ? String(stem.dropLast()) : stem
        self =
            if Self.interpreters.contains(bare) {
                .interpreter
            } else if Self.wrappers.contains(bare) || bare.hasPrefix("ld-linux") || bare == "ld.so" {
                .wrapper
            } else if Self.runners.contains(bare) {
                .runner
            } else {
                .other
            }
    }

    /// Whether `-c` is followed by a shell's text.
    static func isShell(_ program: String) -> Bool {
        let name = program.split(separator: "/").last.map(String.init) ?? program
        return ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "yash", "busybox"].contains(name)
    }

    private static let interpreters: Set<String> = [
        "python", "pypy", "ipython", "graalpy", "node", "nodejs", "bun", "deno", "tsx", "ts-node", "ruby", "jruby",
        "perl",
        "raku", "php", "lua", "luajit", "tclsh", "wish", "expect", "guile", "racket", "julia", "r", "rscript", "octave",
        "java", "scala", "groovy", "kotlin", "jshell", "clojure", "erl", "escript", "elixir", "iex", "mono", "dotnet",
        "wasmtime", "wasmer", "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "yash", "pwsh",
        "nu",
        "busybox", "toybox", "awk", "gawk", "mawk", "sed", "bc", "m", "osascript", "sbcl", "emacs", "vim", "nvim",
        "qjs",
    ]

    private static let wrappers: Set<String> = [
        "env", "nice", "ionice", "chrt", "taskset", "numactl", "timeout", "stdbuf", "unbuffer", "setsid", "nohup",
        "time",
        "chroot", "unshare", "nsenter", "setpriv", "sudo", "doas", "su", "runuser", "gosu", "su-exec", "chpst",
        "setuidgid",
        "capsh", "firejail", "bwrap", "systemd-run", "systemd-inhibit", "flock", "script", "xargs", "find", "parallel",
        "watch",
        "dumb-init", "tini", "catatonit", "s6-setuidgid", "strace", "ltrace", "gdb", "valgrind", "perf", "xvfb-run",
        "dbus-run-session", "eatmydata", "fakeroot", "proot", "prlimit", "choom", "direnv", "dotenv", "foreman",
        "nodemon",
        "pm", "supervisord", "watchmedo", "entr", "reflex", "air", "docker", "podman", "nerdctl", "qemu-x",
        "qemu-aarch",
    ]

    private static let runners: Set<String> = [
        "npm", "npx", "pnpm", "pnpx", "yarn", "corepack", "bunx", "uv", "uvx", "pip", "pipx", "poetry", "pipenv", "pdm",
        "hatch",
        "rye", "conda", "mamba", "tox", "nox", "invoke", "fab", "make", "gmake", "just", "task", "ninja", "cmake",
        "rake", "thor",
        "bundle", "bundler", "gem", "rails", "rackup", "puma", "unicorn", "cargo", "go", "gradle", "gradlew", "mvn",
        "ant", "sbt",
        "mix", "flask", "django-admin", "uvicorn", "gunicorn", "hypercorn", "daphne", "waitress-serve", "celery",
        "dramatiq", "rq",
        "huey", "arq", "streamlit", "gradio", "chainlit", "scrapy", "pytest", "unittest", "runpy", "pdb", "cprofile",
        "profile",
        "trace", "zipapp", "compileall", "coverage", "papermill", "jupyter", "nbconvert", "ansible", "ansible-playbook",
        "terraform", "nix", "nix-shell", "guix", "composer", "artisan", "symfony", "git", "ssh", "rsync", "crond",
        "cron",
    ]
}
