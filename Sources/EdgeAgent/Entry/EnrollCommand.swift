import ArgumentParser
import FoundationEssentials
import Glibc

struct EnrollCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enroll",
        abstract: "Pairs this machine with a hub, using a one-time code."
    )

    @OptionGroup var options: AgentOptions

    @Option(help: ArgumentHelp("The one-time code, such as 7KQM-X4TD-9RWH.", valueName: "code"))
    var code: String

    @Option(help: ArgumentHelp("What to call this node (default: the host name).", valueName: "name"))
    var name: String?

    @Flag(
        help: ArgumentHelp(
            "Pair anew although this state directory is paired already. The old identity is replaced; with a code made "
                + "for this node it stays the same node. A running agent takes it over."
        )
    )
    var again = false

    /// Longer than a running agent takes to look at its pairing.
    private static let takeoverLimit = Duration.seconds(15)

    /// What becomes of the agent that runs, in one line.
    private static func takenOver(_ identity: NodeIdentity, in directory: StateDirectory) async -> String {
        let end = ContinuousClock.now + takeoverLimit
        var hub = ""
        while ContinuousClock.now < end {
            // `try?`: it may stop meanwhile.
            guard let report = try? StatusClient.ask(directory.path) else { break }
            hub = report.hub?.url ?? ""
            if hub == identity.hubURL, report.node?.id == identity.nodeID {
                return "The running agent has taken it over: \(report.link.state.rawValue)."
            }
            try? await Task.sleep(for: .milliseconds(250))
        }
        return hub.isEmpty || hub == identity.hubURL
            ? "Identity kept in \(directory.path). Next: edge-agent run --state-dir \(directory.path)"
            : "The running agent stays with \(hub), which its settings name (--hub, EDGE_HUB_URL or \"hub\" in its configuration "
                + "file). Change or remove that, and start it again."
    }

    func run() async throws {
        let configuration = try options.resolve()
        guard let hubURL = configuration.hubURL else {
            throw AgentError(.usage, "which hub? give its URL with --hub or EDGE_HUB_URL")
        }
        let directory = try StateDirectory(path: configuration.stateDirectory)
        let enrollment = Enrollment(directory: directory, hubURL: hubURL, configuration: configuration)
        // Before the lock: that another agent runs on a paired directory is no wonder, and would hide what to do.
        if !again { try enrollment.requireUnpaired() }
        // A running agent of this directory takes the new credential over by itself, so it need not be stopped.
        let lock = again ? nil : try directory.lock()
        defer { if let lock { close(lock) } }
        // One that cannot be read would keep the agent from starting: better known before the code is spent.
        _ = try PolicyFile.load(configuration.policyFile)
        // `try?`: one that cannot be read is what pairing again mends.
        let before = again ? try? IdentityStore(directory: directory).load() : nil
        let identity = try await enrollment.redeem(code: code, name: name, again: again)
        print("Paired as \(identity.nodeName) (\(identity.nodeID)) with \(identity.hubURL).")
        // What comes with pairing is said where it is decided.
        let policy = PolicyAdvice(policy: try PolicyFile.load(configuration.policyFile))
        print(policy.configuration)
        if let patterns = policy.patterns { print(patterns) }
        if let openness = directory.openness { print("Note: \(openness)") }
        // `try?`: what was done is done, whether or not an agent answers.
        let running = try? StatusClient.ask(directory.path)
        if let before, let left = LeftBots(directory, running, leaving: before, for: identity) { print(left.text) }
        if running != nil { return print(await Self.takenOver(identity, in: directory)) }
        print("Identity kept in \(directory.path). Next: edge-agent run --state-dir \(directory.path)")
    }
}
