import WireFormat

/// What may be done on this node: the rules of its policy file, and those by which its hub keeps itself back. A pure value;
/// every `check…` either returns or says which rule refused.
///
/// Closed by default. An absent rule of the node's own file means:
///
/// | rule | absent |
/// | --- | --- |
/// | `backends`, `commands`, `images` | what the runtime profiles of this node name, and nothing a hub names |
/// | `directories` | the directories that the profiles name, and none a hub names |
/// | `environment` | no variable from the hub |
/// | `configuration` | the hub may give a bot its `config.json` |
/// | `workspace` | `write`: the hub may read and write inside a bot's workspace |
/// | `workspace_code`, `terminal`, `exec` | no |
/// | `workspace_links` | `system`: links of a transferred workspace lead to something in it, or to programs and libraries of the system |
/// | `caps` | none but the agent's own |
///
/// A profile is the word of the node's owner: it stands in the agent's configuration, which no hub can change. Where the
/// file has a list, the profiles must keep to it as well. An absent rule of the hub's narrowing restricts nothing; a
/// present one can only refuse, so nothing it says opens what the node keeps closed.
struct Policy: Sendable, Equatable {
    /// The node's own rules.
    let local: PolicyRules
    /// Path of their file; nil where there is none.
    let file: String?
    /// The hub's.
    private(set) var narrowing = PolicyRules()

    /// Without a file.
    static let standard = Policy(local: PolicyRules(), file: nil)

    init(local: PolicyRules, file: String?) {
        self.local = local
        self.file = file
    }

    /// The same with the hub's own restrictions, in place of any it had made before.
    func narrowed(by rules: PolicyRules) -> Policy {
        var copy = self
        copy.narrowing = rules
        return copy
    }

    /// The lower of both sides' caps.
    var caps: PolicyCaps { local.caps.lowered(by: narrowing.caps) }

    // MARK: Launching

    func check(backend: String, from origin: PolicyOrigin) throws(PolicyRefusal) {
        try checkList(
            "backends",
            { $0.backends.map { $0.contains(backend) } },
            origin,
            "the backend \(backend)"
        )
    }

    /// - Parameters:
    ///   - command: the template's words, before filling in.
    ///   - program: absolute path at which its program was found.
    func check(command: [String], program: String, from origin: PolicyOrigin) throws(PolicyRefusal) {
        try checkList(
            "commands",
            { rules in rules.commands.map { $0.contains { $0.allows(command, program: program) } } },
            origin,
            "the launch command \(command.joined(separator: " "))"
        )
    }

    /// Whatever is no image name by Docker's grammar is refused.
    func check(image: String, from origin: PolicyOrigin) throws(PolicyRefusal) {
        guard let reference = ImageReference(image) else {
            throw PolicyRefusal(rule: "images", message: "\"\(image.prefix(200))\" is no name of an image")
        }
        try checkList(
            "images",
            { rules in rules.images.map { $0.contains { $0.allows(reference) } } },
            origin,
            "the image \(image)"
        )
    }

    /// A working directory or a mount.
    ///
    /// - Parameter resolve: the real path behind symbolic links, or nil where there is no such directory.
    func check(
        directory: String,
        from origin: PolicyOrigin,
        resolve: (String) -> String? = RealPath.of
    ) throws(PolicyRefusal) {
        guard PathText.isPlainAbsolute(directory), let real = resolve(directory) else {
            throw PolicyRefusal(
                rule: "directories",
                message:
                    "\"\(directory.prefix(200))\" is no directory of this node; give an absolute path without . and .."
            )
        }
        // The rule's own directory may be a link of the owner's; what it points to is meant.
        try checkList(
            "directories",
            { rules in rules.directories.map { $0.contains { PathText.isInside(real, resolve($0) ?? $0) } } },
            origin,
            real == directory ? "the directory \(directory)" : "the directory \(directory), which is \(real),"
        )
    }

    /// Variables that a release from the hub wants to set. Those of a profile are the owner's and are not asked about.
    func check(environment: [String: String]) throws(PolicyRefusal) {
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
            guard EnvironmentRule.isName(name), !value.utf8.contains(0) else {
                throw PolicyRefusal(
                    rule: "environment",
                    message:
                        "\"\(name.prefix(130))\" is no name of an environment variable, or its value holds a zero byte"
                )
            }
            guard !EnvironmentRule.isDangerous(name) else {
                throw PolicyRefusal(
                    rule: "environment",
                    message:
                        "the environment variable \(name) is never taken from the hub, because it decides what a program "
                        + "runs or whom it believes; the node's owner can set it in the runtime profile"
                )
            }
            let whole = "the environment variable \(name)"
            guard local.environment?.contains(where: { $0.allows(name) }) == true else {
                // A pattern that covers it, of a policy from before names had to be whole.
                let pattern = local.environment?.first { $0.covers(name) }.map {
                    " (\($0.text) is no whole name and lets nothing in; list \(name) itself)"
                }
                throw refusal("environment", .node, whole + (pattern ?? ""))
            }
            guard narrowing.environment?.contains(where: { $0.covers(name) }) ?? true else {
                throw refusal("environment", .hub, whole)
            }
        }
    }

    /// Whether the hub may replace a bot's configuration.
    func checkConfiguration() throws(PolicyRefusal) {
        try checkFlag("configuration", \.configuration, whenAbsent: true, "a bot configuration from the hub")
    }

    /// Limits a release asks for against the caps.
    func check(limits: PolicyCaps) throws(PolicyRefusal) {
        for field in PolicyCaps.fields {
            guard let asked = limits[keyPath: field.path] else { continue }
            for (rules, owner) in sides {
                guard let cap = rules.caps[keyPath: field.path], asked > cap else { continue }
                throw refusal("caps.\(field.key.rawValue)", owner, "\(asked) \(field.key.rawValue), above \(cap),")
            }
        }
    }

    /// - Parameter count: bots the node would hold.
    func check(botCount count: Int) throws(PolicyRefusal) {
        var limits = PolicyCaps()
        limits.bots = count
        try check(limits: limits)
    }

    // MARK: Files

    func checkWorkspace(_ access: PolicyRules.WorkspaceAccess) throws(PolicyRefusal) {
        for (rules, owner) in sides where (rules.workspace ?? .write) < access {
            throw refusal("workspace", owner, "the hub's \(access == .read ? "reading" : "writing") in a workspace")
        }
    }

    /// Whether the hub may write, replace, rename or remove what lies at `path`.
    ///
    /// - Parameters:
    ///   - path: below the workspace, its folder real.
    ///   - code: what the launches of this node run out of the bot's workspace.
    func checkWrite(_ path: String, code: WorkspaceCode) throws(PolicyRefusal) {
        try checkWorkspace(.write)
        guard let claim = code.touched(by: path), Defence.codeWrites.isUp else { return }
        try check(claim, "changing \(path.isEmpty ? "the workspace" : path)")
    }

    /// Whether the hub may have a hand in what a launch runs.
    ///
    /// - Parameter what: what the hub does, or has done.
    func check(_ claim: WorkspaceCode.Claim, _ what: String) throws(PolicyRefusal) {
        try checkFlag(
            "workspace_code",
            \.workspaceCode,
            whenAbsent: false,
            "\(what) is for the node's owner alone, because the runtime profile \"\(claim.profile)\" runs \(claim.what) out of "
                + "the workspace, \(claim.reach), and any bot of this node may get that profile; from the hub it"
        )
    }

    /// Where programs and libraries of the system lie: everybody may read there, and nobody but root writes.
    private static let systemPlaces = [
        "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/dev/null",
    ]

    /// Whether a transferred workspace may hold a symbolic link that leads out of it. The bot follows it with rights of its own, so
    /// a hub could have it read and write what lies elsewhere.
    func check(link: String, to destination: String) throws(PolicyRefusal) {
        let isSystem =
            PathText.isPlainAbsolute(destination)
            && Self.systemPlaces.contains { PathText.isInside(destination, $0) }
        let needed = isSystem ? PolicyRules.LinkReach.system : .any
        for (rules, owner) in sides where Defence.linksOut.isUp {
            guard (rules.workspaceLinks ?? (owner == .node ? .system : .any)) < needed else { continue }
            throw refusal(
                "workspace_links",
                owner,
                "the symbolic link \(link.prefix(500)) to \(destination.prefix(500)), which leads out of the workspace,"
            )
        }
    }

    // MARK: More than launching

    func checkTerminal() throws(PolicyRefusal) {
        try checkFlag("terminal", \.terminal, whenAbsent: false, "a terminal")
    }

    func checkExec() throws(PolicyRefusal) {
        try checkFlag("exec", \.exec, whenAbsent: false, "running a command of the hub's")
    }

    // MARK: How rules are asked

    private enum Owner { case node, hub }

    private var sides: [(PolicyRules, Owner)] { [(local, .node), (narrowing, .hub)] }

    /// - Parameter listed: whether the rule's list has it; nil where there is no list.
    private func checkList(
        _ rule: String,
        _ listed: (PolicyRules) -> Bool?,
        _ origin: PolicyOrigin,
        _ what: String
    ) throws(PolicyRefusal) {
        guard listed(local) ?? (origin == .node) else { throw refusal(rule, .node, what) }
        guard listed(narrowing) ?? true else { throw refusal(rule, .hub, what) }
    }

    private func checkFlag(
        _ rule: String,
        _ flag: KeyPath<PolicyRules, Bool?>,
        whenAbsent standard: Bool,
        _ what: String
    ) throws(PolicyRefusal) {
        guard local[keyPath: flag] ?? standard else { throw refusal(rule, .node, what) }
        guard narrowing[keyPath: flag] ?? true else { throw refusal(rule, .hub, what) }
    }

    private func refusal(_ rule: String, _ owner: Owner, _ what: String) -> PolicyRefusal {
        let advice =
            switch owner {
            case .node where rule == "workspace_code":
                "the node's owner can drop that profile if nothing uses it, keep its program outside the workspace, or allow "
                    + "it with \"workspace_code\": true in \(file ?? PolicyFile.defaultPath)"
            case .node where rule == "workspace_links":
                "remove the link, or the node's owner can allow it with \"workspace_links\": \"any\" in "
                    + (file ?? PolicyFile.defaultPath)
            case .node where file == nil:
                "without a policy file nothing else is allowed; the node's owner can allow it with the rule "
                    + "\"\(rule)\" in \(PolicyFile.defaultPath)"
            case .node: "the node's owner can change the rule \"\(rule)\" in \(file ?? "")"
            case .hub: "an administrator of the hub can change it, within what the node allows"
            }
        let whose = owner == .hub ? "by the hub's own restriction of this node" : "by this node's policy"
        return PolicyRefusal(rule: rule, message: "\(what) is refused \(whose), rule \"\(rule)\"; \(advice)")
    }
}
