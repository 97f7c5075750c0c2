/// Names of environment variables that a policy lets the hub set: `OPENAI_API_KEY`, `APP_*`.
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

    func allows(_ name: String) -> Bool {
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
    /// those of the bot contract. No pattern of a policy covers them. In lower case, too: some programs read both.
    static func isDangerous(_ name: String) -> Bool {
        let name = name.uppercased()
        return dangerousNames.contains(name) || dangerousPrefixes.contains { name.hasPrefix($0) }
    }

    private static let dangerousPrefixes = [
        // The dynamic loader, the C library, and interpreters.
        "LD_", "DYLD_", "GLIBC_", "MALLOC_", "PYTHON", "PERL", "RUBY", "GEM_", "BUNDLE_", "NODE_", "NPM_", "BUN_",
        "DENO_", "LUA_", "PHP", "BASH_", "ZDOTDIR", "JAVA_", "JDK_", "DOTNET_", "COMPLUS_", "CORECLR_", "GCONV_",
        // What programs call for their work, and how they know whom they talk to.
        "GIT_", "SSH_", "SSL_", "OPENSSL_", "CURL_", "PIP_", "UV_", "DOCKER_", "CONDA_", "VIRTUAL_ENV",
        // The bot contract and the agent.
        "BOT_", "EDGE_", "HUB_", "XDG_",
    ]

    private static let dangerousNames: Set<String> = [
        "PATH", "HOME", "SHELL", "ENV", "IFS", "CDPATH", "SHELLOPTS", "BASHOPTS", "PS1", "PS2", "PS4", "PROMPT_COMMAND",
        "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "PWD", "EDITOR", "VISUAL", "PAGER", "LESSOPEN", "LESSCLOSE",
        "MANPAGER",
        "BROWSER", "CLASSPATH", "_JAVA_OPTIONS", "NODE", "LOCPATH", "NLSPATH", "HOSTALIASES", "LOCALDOMAIN",
        "RES_OPTIONS",
        "RESOLV_HOST_CONF", "TZDIR", "TERMINFO", "TERMINFO_DIRS", "TERMCAP", "GETCONF_DIR", "NIS_PATH", "HTTP_PROXY",
        "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID",
    ]
}
