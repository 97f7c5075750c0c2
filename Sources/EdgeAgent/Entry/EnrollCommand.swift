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

    @Flag(help: "Pair anew although this state directory is paired already. The old identity is replaced.")
    var again = false

    func run() async throws {
        let configuration = try options.resolve()
        guard let hubURL = configuration.hubURL else {
            throw AgentError(.usage, "which hub? give its URL with --hub or EDGE_HUB_URL")
        }
        let directory = try StateDirectory(path: configuration.stateDirectory)
        let lock = try directory.lock()
        defer { close(lock) }
        let enrollment = Enrollment(directory: directory, hubURL: hubURL, configuration: configuration)
        let identity = try await enrollment.redeem(code: code, name: name, again: again)
        print("Paired as \(identity.nodeName) (\(identity.nodeID)) with \(identity.hubURL).")
        print("Identity kept in \(directory.path). Next: edge-agent run --state-dir \(directory.path)")
    }
}
