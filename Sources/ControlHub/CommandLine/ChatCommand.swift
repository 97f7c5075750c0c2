import ArgumentParser
import Foundation
import Glibc
import Synchronization
import UnixSignals
import WireFormat

/// `control-hub chat`.
struct ChatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk to a bot: one message, or line by line.",
        discussion: """
            With a message: says it, prints the answer, and ends with 0 once the bot is done, with 1 when the message failed. \
            Without: each line of standard input is said, and the answer waited for. What the bot does meanwhile is shown on \
            standard error, so that a pipe gets the answers alone; with --json everything is one object a line. Ctrl-C ends it \
            and says how to go on; what was said is answered all the same.
            """
    )

    @OptionGroup var target: BotArgument
    @Argument(help: "What to say; without it each line of standard input is said.") var text: [String] = []
    @Option(help: "Id of a conversation to go on with. (default: a new one)") var conversation: String?
    @Option(help: "How long to wait for an answer.") var timeout = "10m"

    func run() async throws {
        let limit = try HubConfiguration.parseDuration(timeout, name: "--timeout", otherwise: .usage)
        try await target.withBot { client, path in
            let chat = Chat(
                client: client,
                path: path,
                name: target.bot,
                isJSON: target.access.json,
                limit: limit,
                conversation: conversation
            )
            let signals = await UnixSignalsSequence(trapping: .sigint)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for await _ in signals {
                        // The terminal has written `^C` where the cursor was.
                        if Output.isInputTerminal { Output.line("") }
                        chat.sayGoodbye()
                        // As a shell tells a program that was interrupted. At once: what runs at an ordinary exit would take
                        // OpenSSL and standard input from under the threads that use them.
                        Glibc._exit(128 + SIGINT)
                    }
                }
                try await talk(chat)
                group.cancelAll()
            }
        }
    }

    private func talk(_ chat: Chat) async throws {
        guard text.isEmpty else { return try await chat.say(text.joined(separator: " ")) }
        let isTerminal = Output.isInputTerminal && !target.access.json
        if isTerminal { Output.note("you talk to \(target.bot). Ctrl-D ends it.") }
        while let line = await Output.ask(target.access.json ? "" : "> ") {
            guard !line.allSatisfy(\.isWhitespace) else { continue }
            do {
                try await chat.say(line)
            } catch let failure as StartFailure where isTerminal {
                // A person decides whether to go on.
                Output.note(failure.message)
            }
        }
        if isTerminal {
            Output.line("")
            chat.sayGoodbye()
        }
    }
}

/// One conversation with a bot.
private final class Chat: Sendable {
    private let client: HubClient
    /// Of the bot in the API.
    private let path: String
    private let name: String
    private let isJSON: Bool
    private let limit: Duration
    private let conversation: Mutex<String?>

    init(client: HubClient, path: String, name: String, isJSON: Bool, limit: Duration, conversation: String?) {
        self.client = client
        self.path = path
        self.name = name
        self.isJSON = isJSON
        self.limit = limit
        self.conversation = Mutex(conversation)
    }

    /// Tells how to go on.
    func sayGoodbye() {
        guard let id = conversation.withLock({ $0 }) else { return }
        Output.note("to go on: control-hub chat \(name) --conversation \(id)")
    }

    /// What was printed of an answer.
    private struct Shown {
        var message = ""
        var conversation = ""
        var steps = 0
        var answers = 0
    }

    /// Says something and prints what the bot makes of it. Throws `StartFailure` when that is no answer.
    func say(_ text: String) async throws {
        var shown = Shown()
        // Safe to send again where the answer was lost.
        let key = UUID().uuidString
        let bot = path.dropFirst("/api/bots/".count)
        let events = "/api/events?types=packet,message.updated,missed&bot_id=\(bot)"
        // The stream is opened first, so that nothing of the answer can fall between.
        let isDone = try await EventFollower(client: client, path: events, deadline: .now + limit).run { news in
            switch news {
            case .opened:
                if shown.message.isEmpty { try await send(text, key, &shown) }
                return try await catchUp(&shown)
            case .event(let event):
                guard event.type == "missed" || event.data.contains(shown.conversation) else { return false }
                return try await catchUp(&shown)
            }
        }
        guard !isDone else { return }
        throw StartFailure(
            .temporaryFailure,
            "no answer within \(Int(saturating: limit.seconds)) s. If the bot still answers, it is shown by: "
                + "control-hub chat \(name) --conversation \(shown.conversation)"
        )
    }

    private func send(_ text: String, _ key: String, _ shown: inout Shown) async throws {
        var body: [String: JSONValue] = ["text": .string(text)]
        if let conversation = conversation.withLock({ $0 }) { body["conversation_id"] = .string(conversation) }
        let sent = try await client.post("\(path)/messages", body, idempotencyKey: key)
        guard let message = sent["message_id"]?.stringValue, let id = sent["conversation_id"]?.stringValue else {
            throw StartFailure(
                .unavailable,
                "the hub did not say which message this is. Check that the URL is a hub's."
            )
        }
        (shown.message, shown.conversation) = (message, id)
        conversation.withLock { $0 = id }
        if isJSON {
            try Output.json(["type": .string("sent"), "message_id": .string(message), "conversation_id": .string(id)])
        }
    }

    /// Prints what is new of the answer; true when the bot is done.
    private func catchUp(_ shown: inout Shown) async throws -> Bool {
        let page = try await client.get(
            "\(path)/conversations/\(HubClient.escaped(shown.conversation))?limit=20"
        )
        let mine = (page["items"]?.arrayValue ?? []).filter { $0["message_id"]?.stringValue == shown.message }
        // Steps move from the open turn into the answer they led to; their order stays, so counting tells the new ones.
        var (steps, answers) = (0, 0)
        for entry in mine where entry["role"]?.stringValue != "user" {
            for step in entry["steps"]?.arrayValue ?? [] {
                steps += 1
                if steps > shown.steps { try show(step) }
            }
            guard entry["role"]?.stringValue == "assistant" else { continue }
            answers += 1
            if answers > shown.answers { try show(answer: entry) }
        }
        (shown.steps, shown.answers) = (max(steps, shown.steps), max(answers, shown.answers))
        guard let own = mine.first(where: { $0["role"]?.stringValue == "user" }) else { return false }
        return try end(own)
    }

    /// Whether the message's turn is over. Throws where it ended badly.
    private func end(_ message: JSONValue) throws -> Bool {
        let state = message["state"]?.stringValue ?? ""
        guard ["answered", "failed", "interrupted"].contains(state) else { return false }
        let reason = message["reason"] ?? .null
        if isJSON {
            try Output.json([
                "type": .string("ended"), "message_id": message["message_id"] ?? .null, "state": .string(state),
                "reason": reason,
            ])
        }
        guard state == "answered" else {
            throw StartFailure(
                .refused,
                "the message \(state == "failed" ? "failed" : "was interrupted"): "
                    + (reason == .null ? "no reason given." : reason.plain)
            )
        }
        return true
    }

    private func show(_ step: JSONValue) throws {
        let type = step["type"]?.plain ?? "progress"
        if isJSON {
            return try Output.json([
                "type": .string(type), "text": step["text"] ?? .null, "at": step["at"] ?? .null,
            ])
        }
        let text = Printable.line(step["text"]?.plain ?? "")
        FileHandle.standardError.write(Data((Output.faint("· \(text.isEmpty ? type : text)") + "\n").utf8))
    }

    private func show(answer: JSONValue) throws {
        if isJSON {
            return try Output.json([
                "type": .string("answer"), "text": answer["text"] ?? .null, "at": answer["at"] ?? .null,
                "turn_id": answer["turn_id"] ?? .null,
            ])
        }
        Output.line(Printable.text(answer["text"]?.plain ?? ""))
    }
}
