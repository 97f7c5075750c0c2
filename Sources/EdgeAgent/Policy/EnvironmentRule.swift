import WireFormat

/// Names of environment variables that a policy lets the hub set: `OPENAI_API_KEY`.
///
/// A pattern, `APP_*`, names nothing in the node's own file: which variables make some program run or believe something else is
/// known of each program alone, so what a pattern covers besides what its author thought of cannot be told. In the hub's
/// narrowing, which only refuses, it covers what it says.
struct EnvironmentRule: Sendable, Equatable {
    let text: String
    private let prefix: String
    private let isPrefix: Bool

    /// - Throws: `PolicyRefusal` with the rule `environment` for what is no name, and for a name that is never taken.
    init(_ text: String) throws(PolicyRefusal) {
        isPrefix = text.hasSuffix("*")
        prefix = isPrefix ? String(text.dropLast()) : text
        guard isPrefix && prefix.isEmpty || Self.isName(prefix) else {
            throw PolicyRefusal(
                rule: "environment",
                message:
                    "\"\(text)\" in the policy is no name of an environment variable, nor the beginning of one with * at its end"
            )
        }
        if !isPrefix, Self.isDangerous(text) {
            throw PolicyRefusal(
                rule: "environment",
                message:
                    "\(text) is never taken from a hub, because it decides what a program runs; set it in the runtime profile instead"
            )
        }
        self.text = text
    }

    /// One name and nothing else.
    var isExact: Bool { !isPrefix }

    /// As a rule of the node's own.
    func allows(_ name: String) -> Bool {
        Defence.variableNames.isUp ? isExact && name == prefix : covers(name)
    }

    /// As a rule of the hub's narrowing.
    func covers(_ name: String) -> Bool {
        isPrefix ? name.hasPrefix(prefix) : name == prefix
    }

    /// A letter or `_`, then letters, digits and `_`; at most 128 of them.
    static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= 128 else { return false }
        func isLetter(_ byte: UInt8) -> Bool {
            (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == UInt8(ascii: "_")
        }
        return isLetter(first) && name.utf8.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) }
    }

    /// Variables that make a program load or run something else, look elsewhere for it, or speak to somebody else; and
    /// those of the bot contract. No rule of a policy lets them in. In lower case, too: some programs read both.
    static func isDangerous(_ name: String) -> Bool {
        let name = name.uppercased()
        guard Defence.variableFamilies.isUp else { return false }
        return dangerousNames.contains(name) || dangerousPrefixes.contains { name.hasPrefix($0) }
    }

    private static let dangerousPrefixes = [
        // The dynamic loader, the C library, and interpreters.
        "LD_", "DYLD_", "GLIBC_", "MALLOC_", "PYTHON", "PERL", "RUBY", "GEM_", "BUNDLE_", "NODE_", "NPM_", "BUN_",
        "DENO_", "LUA_", "PHP", "BASH_", "ZDOTDIR", "JAVA_", "JDK_", "DOTNET_", "COMPLUS_", "CORECLR_", "GCONV_",
        "R_LIBS", "R_PROFILE", "R_ENVIRON", "JULIA_", "ERL_", "ELIXIR_", "GUILE_", "TCL", "CARGO_", "RUSTC",
        "RUSTFLAGS", "MAVEN_",
        "GRADLE_", "GTK_", "QT_", "GST_", "ELECTRON_", "PLAYWRIGHT_", "PUPPETEER_", "CHROME_", "NSS_", "KRB5", "LDAP",
        // What programs call for their work, and how they know whom they talk to.
        "GIT_", "SSH_", "SSL_", "OPENSSL_", "CURL_", "PIP_", "UV_", "DOCKER_", "CONDA_", "VIRTUAL_ENV", "SUDO_",
        "ANSIBLE_",
        "TF_CLI", "HELM_", "MAKEFLAGS", "MAKEFILES",
        // Files of settings that name programs to run for a credential, or somebody to believe.
        "AWS_CONFIG", "AWS_SHARED_CREDENTIALS", "AWS_CONTAINER", "AWS_WEB_IDENTITY", "AWS_ENDPOINT", "AWS_CA",
        "BOTO_CONFIG",
        "KUBE", "CLOUDSDK_", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_USE", "AZURE_CONFIG", "PGSERVICE",
        "PGSYSCONF",
        // What bots take as settings of the tools they run.
        "NANOBOT_TOOLS", "NANOBOT_AGENTS", "NANOBOT_CHANNELS", "NANOBOT_GATEWAY", "NANOBOT_HOOKS", "MCP_", "UVICORN_",
        "GUNICORN_",
        "FLASK_", "DJANGO_", "CELERY_", "PYTEST_", "STREAMLIT_", "GRADIO_", "LITELLM_CONFIG",
        // The bot contract and the agent.
        "BOT_", "EDGE_", "HUB_", "XDG_",
    ]

    private static let dangerousNames: Set<String> = [
        "PATH", "HOME", "SHELL", "ENV", "IFS", "CDPATH", "SHELLOPTS", "BASHOPTS", "PS1", "PS2", "PS4", "PROMPT_COMMAND",
        "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "PWD", "EDITOR", "VISUAL", "PAGER", "LESSOPEN", "LESSCLOSE",
        "MANPAGER",
        "BROWSER", "WGETRC", "NETRC", "INPUTRC", "GOFLAGS", "GOPATH", "GOROOT", "GOTOOLCHAIN", "CLASSPATH",
        "_JAVA_OPTIONS", "NODE", "LOCPATH", "NLSPATH", "HOSTALIASES", "LOCALDOMAIN",
        "RES_OPTIONS",
        "RESOLV_HOST_CONF", "TZDIR", "TERMINFO", "TERMINFO_DIRS", "TERMCAP", "GETCONF_DIR", "NIS_PATH", "HTTP_PROXY",
        "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID",
    ]
}
