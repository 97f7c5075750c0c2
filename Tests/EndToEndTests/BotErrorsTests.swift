import Foundation
import Glibc
import Testing

@Suite("Each mistake a bot's owner can make shows as one clear state and reason in the API", .serialized)
struct BotErrorsTests {
    private static let faultyBot =
        "/usr/bin/env python3 \(Program.checkout.path)/Tests/Bots/faulty-bot --config {config}"

    /// A hub and a paired agent whose bots make mistakes.
    private struct Scene {
        let bench: Workbench
        let hub: Hub
        let api: API
        let agent: Program
        let node: String

        init(command: String) async throws {
            bench = try Workbench()
            hub = try await bench.startHub()
            api = try await hub.admin()
            try await Story.pair(bench, hub)
            agent = try bench.startAgent(environment: ["EDGE_NATIVE_COMMAND": command])
            node = try await Story.onlineNode(api, agent)
        }

        /// Makes a bot with this fault and asks for its start.
        func bot(_ fault: String, _ more: [String: JSON] = [:]) async throws -> String {
            let config = more.merging(["fault": .string(fault)]) { _, own in own }
            let made = try await api.post(
                "/api/bots",
                ["name": .string(fault), "node_id": .string(node), "config": .object(config)]
            )
            guard let id = made["id"].string else { throw Failure("no id in \(made)") }
            _ = try await api.post("/api/bots/\(id)/start")
            return id
        }

        /// The bot's document once the condition holds.
        func bot(
            _ id: String,
            within limit: Duration = .seconds(120),
            when condition: (JSON) -> Bool
        ) async throws -> JSON {
            var last = JSON.null
            return try await eventually("the bot's state", within: limit, or: { "\(last)\n\(agent.text)" }) {
                last = try await api.get("/api/bots/\(id)")
                return condition(last) ? last : nil
            }
        }
    }

    private func problem(_ code: String, of bot: JSON) -> JSON? {
        guard case .array(let problems) = bot["problems"] else { return nil }
        return problems.first { $0["code"] == .string(code) }
    }

    @Test("a command that does not exist is told by the node, and by the start that fails")
    func noSuchCommand() async throws {
        let scene = try await Scene(command: "/does/not/exist --config {config}")
        let node = try await scene.api.get("/api/nodes/\(scene.node)")
        guard case .array(let profiles) = node["runtime_profiles"], let profile = profiles.first else {
            throw Failure("no profiles in \(node)")
        }
        #expect(profile["usable"] == .bool(false))
        #expect(profile["reason"].string?.contains("/does/not/exist does not exist") == true)
        let id = try await scene.bot("exits_at_once")
        let command = try await eventually("the start fails") {
            try await scene.api.get("/api/commands").items.first {
                $0["bot_id"] == .string(id) && $0["state"] == "failed"
            }
        }
        #expect(command["error_code"] == "profile_not_usable")
        #expect(command["message"].string?.contains("/does/not/exist does not exist; install it") == true)
    }

    @Test("whatever a bot does wrong has a state, a code and a sentence")
    func mistakes() async throws {
        let scene = try await Scene(command: Self.faultyBot)
        let listener = try Listener()
        // All at once: several of them take their time.
        let neverReady = try await scene.bot("never_ready")
        let quitter = try await scene.bot("exits_at_once")
        let squatter = try await scene.bot("port_in_use", ["port": .number(Double(listener.port))])
        let misconfigured = try await scene.bot("set_up_wrong")
        let doomed = try await scene.bot("fatal")
        let scrawler = try await scene.bot("bad_packet")
        let giant = try await scene.bot("huge_packet")
        let flooder = try await scene.bot("packet_flood")
        let latin = try await scene.bot("not_utf8")

        let wrong = try await scene.bot(misconfigured) { $0["phase"] == "failed" }
        #expect(wrong["reason_code"] == "set_up_wrong" && wrong["restart_count"] == 0)
        #expect(wrong["reason"].string?.contains("no model is configured") == true)
        let fatal = try await scene.bot(doomed) { $0["phase"] == "failed" }
        #expect(fatal["reason_code"] == "fatal")
        #expect(fatal["reason"].string?.contains("the model's key is not accepted") == true)

        let scrawled = try await scene.bot(scrawler) { $0["phase"] == "ready" && problem("bad_packet", of: $0) != nil }
        #expect(problem("bad_packet", of: scrawled)?["count"] == 2)
        #expect(problem("bad_packet", of: scrawled)?["detail"].string?.contains("{not json}") == true)
        let giants = try await scene.bot(giant) { $0["phase"] == "ready" && problem("packet_too_long", of: $0) != nil }
        #expect(problem("packet_too_long", of: giants)?["count"] == 1)
        let accented = try await scene.bot(latin) { $0["phase"] == "ready" && problem("bad_packet", of: $0) != nil }
        #expect(problem("bad_packet", of: accented)?["detail"].string?.contains("not UTF-8") == true)
        let lines = try await scene.api.get("/api/bots/\(latin)/logs?tail=20")["lines"].array
        #expect(lines.contains { $0["text"] == "caf\u{FFFD} au lait" }, "\(lines)")
        _ = try await scene.bot(flooder) { $0["phase"] == "ready" && problem("packet_flood", of: $0) != nil }
        var after = 0
        try await eventually("the last packet of the flood is in the hub") {
            let packets = try await scene.api.get("/api/bots/\(flooder)/packets?after=\(after)").items
            after = packets.compactMap { $0["id"].int }.max() ?? after
            return packets.contains { $0["type"] == "flood_end" } ? () : nil
        }

        let quit = try await scene.bot(quitter) { $0["phase"] == "failed" }
        #expect(quit["reason_code"] == "crash_loop" && quit["last_exit"]["code"] == 3)
        #expect(quit["reason"].string?.contains("no luck today") == true)
        let squatted = try await scene.bot(squatter) { $0["phase"] == "failed" }
        #expect(squatted["reason_code"] == "crash_loop")
        #expect(squatted["reason"].string?.contains("Address already in use") == true)
        let waiting = try await scene.bot(neverReady) { $0["reason_code"] == "not_ready" }
        #expect(waiting["phase"] == "starting")
        #expect(waiting["reason"].string?.contains("it wrote no ready packet") == true)
    }
}

/// Listens on a port of the loopback interface that nobody else can have meanwhile.
private final class Listener {
    let port: UInt16
    private let socket: Int32

    init() throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) { [socket] in
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, length) == 0 && listen(socket, 1) == 0 && getsockname(socket, $0, &length) == 0
            }
        }
        guard isListening else { throw Failure("no port to listen on") }
        port = UInt16(bigEndian: address.sin_port)
    }

    deinit { close(socket) }
}
