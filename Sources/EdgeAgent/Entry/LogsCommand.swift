import ArgumentParser
import FoundationEssentials
import Glibc
import ServiceReport
import SwiftProtobuf
import WireFormat

struct LogsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs",
        abstract: "Shows a bot's log, on the node itself and without the hub."
    )

    @OptionGroup var options: AgentOptions

    @Argument(help: ArgumentHelp("The bot's name or id.", valueName: "bot"))
    var bot: String

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Show the last lines only.", valueName: "lines"))
    var tail: UInt32 = 100

    @Flag(name: [.short, .long], help: "Go on with what is written from now on, until Ctrl-C.")
    var follow = false

    @Flag(help: "One JSON object a line.")
    var json = false

    func run() async throws {
        let configuration = try options.resolve()
        let state = StateDirectory(existing: configuration.stateDirectory).path
        let directory = try LogDirectoryFinder.find(bot, state, configuration)
        let request = WireLogRequest.with {
            $0.tailLines = tail
            $0.follow = follow
        }
        let printer = LogPrinter(isTerminal: Terminal.outputIsTerminal, isJSON: json)
        let notifier: FileChangeNotifier
        do {
            notifier = try FileChangeNotifier()
        } catch {
            throw AgentError(.unavailable, "the log cannot be followed: \(error)")
        }
        let log = BotLog(
            directory: directory,
            request: request,
            notifier: notifier,
            executor: QueueExecutor(label: "edge-agent.logs")
        )
        for try await chunk in log {
            for line in chunk.lines {
                // Whoever read the pipe has gone.
                guard printer.write(line) else { return }
            }
        }
    }
}

/// The directory with a bot's log.
enum LogDirectoryFinder {
    /// - Throws: `AgentError` that lists the bots where none has this name or id.
    static func find(
        _ bot: String,
        _ state: String,
        _ configuration: AgentConfiguration
    ) throws(AgentError) -> String {
        let direct = (try? BotDirectory(root: state + "/bots", botID: bot))?.logs
        if let direct, access(direct, R_OK | X_OK) == 0 { return direct }
        let report: StatusReport
        if let running = try StatusClient.ask(state) {
            report = running
        } else {
            report = try LeftStatus.report(configuration)
        }
        let found = report.bots.filter { $0.name == bot }
        guard let only = found.first else {
            let known = report.bots.map { $0.name.isEmpty ? $0.id : "\($0.name) (\($0.id))" }.joined(separator: ", ")
            throw AgentError(
                .usage,
                "this node holds no bot \(bot)" + (known.isEmpty ? ", nor any other" : "; it holds \(known)")
            )
        }
        guard found.count == 1, let path = (try? BotDirectory(root: state + "/bots", botID: only.id))?.logs else {
            throw AgentError(
                .usage,
                "several bots are called \(bot); use an id: \(found.map(\.id).joined(separator: ", "))"
            )
        }
        return path
    }
}

/// Writes log lines: with time and source on a terminal, the bare text in a pipe, or JSON.
struct LogPrinter {
    let isTerminal: Bool
    let isJSON: Bool

    private struct Line: Encodable {
        var offset: UInt64
        var at: UInt64
        var source: String
        var text: String
        var truncated: Bool

        enum CodingKeys: String, CodingKey {
            case offset
            case at = "at_unix_ms"
            case source
            case text
            case truncated
        }
    }

    /// False where nobody takes it any more.
    func write(_ line: WireLogLine) -> Bool {
        let source =
            switch line.source {
            case .stdout: "stdout"
            case .stderr: "stderr"
            case .supervisor: "agent"
            case .packet: "packet"
            case .unspecified, .UNRECOGNIZED: "?"
            }
        var bytes: [UInt8]
        if isJSON {
            let text = String(decoding: line.text, as: UTF8.self)
            let document = Line(
                offset: line.offset,
                at: line.atUnixMs,
                source: source,
                text: text,
                truncated: line.truncated
            )
            // `try?`: texts and numbers always encode.
            bytes = (try? JSONEncoder().encode(document)).map(Array.init) ?? []
        } else if isTerminal {
            // A bot's output must not steer the terminal.
            let text = TerminalText.safe(String(decoding: line.text, as: UTF8.self), keeping: ["\t"], substitute: "?")
            let mark = line.truncated ? " …" : ""
            bytes = Array("\(LocalTime.text(line.atUnixMs)) \(source)  \(text)\(mark)".utf8)
        } else {
            bytes = Array(line.text)
        }
        bytes.append(UInt8(ascii: "\n"))
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return false }
            rest = rest.dropFirst(written)
        }
        return true
    }
}
