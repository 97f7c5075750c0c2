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

    func run() async throws {
        let configuration = try options.resolve()
        guard let hubURL = configuration.hubURL else {
            throw AgentError(.usage, "which hub? give its URL with --hub or EDGE_HUB_URL")
        }
        let directory = try StateDirectory(path: configuration.stateDirectory)
        // A running agent of this directory takes the new credential over by itself, so it need not be stopped.
        let lock = again ? nil : try directory.lock()
        defer { if let lock { close(lock) } }
        // One that cannot be read would keep the agent from starting: better known before the code is spent.
        _ = try PolicyFile.load(configuration.policyFile)
        let enrollment = Enrollment(directory: directory, hubURL: hubURL, configuration: configuration)
        let identity = try await enrollment.redeem(code: code, name: name, again: again)
        print("Paired as \(identity.nodeName) (\(identity.nodeID)) with \(identity.hubURL).")
        // What comes with pairing is said where it is decided.
        let policy = PolicyAdvice(policy: try PolicyFile.load(configuration.policyFile))
        print(policy.configuration)
        if let patterns = policy.patterns { print(patterns) }
        if let openness = directory.openness { print("Note: \(openness)") }
        print("Identity kept in \(directory.path). Next: edge-agent run --state-dir \(directory.path)")
    }
}
