import ArgumentParser
import FoundationEssentials

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Says how this node is: link, hub, bots, journal and disk.",
        discussion: """
            Asks the agent that runs on the state directory, whether or not its hub can be reached; where none runs, tells \
            what it left behind. The exit status is 0 when the link is up, 3 when it is not, and 4 when no agent runs.
            """
    )

    @OptionGroup var options: AgentOptions

    @Flag(help: "One JSON object instead of lines.")
    var json = false

    func run() async throws {
        let configuration = try options.resolve()
        let directory = StateDirectory(existing: configuration.stateDirectory)
        let report: StatusReport
        if let running = try StatusClient.ask(directory.path) {
            report = running
        } else {
            report = try LeftStatus.report(configuration)
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            Terminal.writeLine(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            let text = StatusText(isColoured: Terminal.outputIsTerminal, now: Journal.wallClock())
            for line in text.lines(report) { Terminal.writeLine(line) }
        }
        guard report.agent.isRunning else { throw ExitCode(4) }
        guard report.link.state == .connected else { throw ExitCode(3) }
    }
}
