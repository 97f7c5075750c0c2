import ArgumentParser
import Foundation

/// `control-hub logs`.
struct LogsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs",
        abstract: "Print what a bot has written, and go on with -f.",
        discussion: """
            With time and source on a terminal, the bare lines in a pipe, one JSON object a line with --json. With -f a lost \
            connection is made anew, and the log goes on where it was; Ctrl-C ends it.
            """
    )

    @OptionGroup var target: BotArgument
    @Flag(name: [.short, .long], help: "Go on with what it writes from now on, until Ctrl-C.") var follow = false
    @Option(
        name: [.customShort("n"), .long],
        help: "So many lines from the end. (default: 100; with --since or --search: all)"
    )
    var tail: Int?
    @Option(help: "Only lines of this time or later: RFC 3339, or an age such as 15m.") var since: String?
    @Option(help: "Only lines that hold this, whatever the case.") var search: String?
    @Option(help: "Only what was written to stdout, stderr, or by the supervisor.") var source: Source?

    enum Source: String, CaseIterable, ExpressibleByArgument {
        case stdout, stderr, supervisor
    }

    func validate() throws {
        guard tail.map({ (0...10_000).contains($0) }) ?? true else {
            throw ValidationError("--tail must lie between 0 and 10000.")
        }
    }

    func run() async throws {
        let since = try since.map(Self.time)
        let printer = LogPrinter(isJSON: target.access.json, isSearch: search != nil)
        defer { printer.end() }
        try await target.withBot { client, bot in
            let isWhole = tail == nil && (since != nil || search != nil)
            let path = HubClient.path(
                "\(bot)/logs",
                query: [
                    "tail": isWhole ? nil : String(tail ?? 100), "offset": isWhole ? "0" : nil, "since": since,
                    "search": search, "source": source?.rawValue,
                ]
            )
            if follow {
                // What keeps the log from being read is said here: a stream would only end, again and again.
                _ = try await client.get("\(bot)/logs?tail=0")
                try await go(on: path + "&follow=true", client, printer)
            } else if isWhole {
                try await readAll(bot, since, client, printer)
            } else {
                try printer.show(try await client.get(path))
            }
        }
    }

    /// Page by page, to the end.
    private func readAll(_ bot: String, _ since: String?, _ client: HubClient, _ printer: LogPrinter)
        async throws
    {
        var offset: Int64 = 0
        while true {
            let page = try await client.get(
                HubClient.path(
                    "\(bot)/logs",
                    query: ["offset": String(offset), "since": since, "search": search, "source": source?.rawValue]
                )
            )
            try printer.show(page)
            guard let next = page["next_offset"]?.integerValue, next > offset else { return }
            offset = next
        }
    }

    private func go(on path: String, _ client: HubClient, _ printer: LogPrinter) async throws {
        try await EventFollower(client: client, path: path).run { news in
            guard case .event(let event) = news, event.type == "message" else { return false }
            // `try?`: the hub sends nothing else, and what another sends is no line.
            if let page = try? JSONDecoder().decode(JSONValue.self, from: Data(event.data.utf8)) {
                try printer.show(page)
            }
            return false
        }
    }

    /// A time as the API takes it.
    static func time(_ text: String) throws -> String {
        if Date(rfc3339: text) != nil { return text }
        guard let age = try? HubConfiguration.parseDuration(text, name: "--since") else {  // said with what is possible
            throw StartFailure(
                .usage,
                "--since \"\(text)\" must be a time like 2026-01-31T12:00:00Z, or an age like 15m."
            )
        }
        return Date(timeIntervalSinceNow: -age.seconds).rfc3339
    }
}
