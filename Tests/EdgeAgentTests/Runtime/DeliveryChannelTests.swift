import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// How messages get to bots that are no HTTP server, and to one that restarts itself.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct DeliveryChannelTests {
    private func message(_ id: String, _ text: String) -> WireDeliverMessage {
        filled(WireDeliverMessage()) {
            $0.botID = "a"
            $0.messageID = id
            $0.conversationID = "c"
            $0.text = text
        }
    }

    private func withBot(
        _ profile: RuntimeProfile,
        _ bench: BotWorkbench,
        timing: BotFleet.Timing = BotFleet.Timing(),
        _ body: (BotFleet, Journal) async throws -> Void
    ) async throws {
        let journal = try bench.journal()
        let fleet = try bench.fleet([profile], journal: journal, timing: timing)
        try await running(fleet) {
            if await fleet.statuses().isEmpty { _ = try await fleet.start(BotWorkbench.specification()) }
            _ = try await eventually(fleet) { $0.phase == .ready }
            try await body(fleet, journal)
        }
    }

    /// Says each line it reads as a packet, and how long it was.
    private static let reader = """
        echo "$BOT_PACKET_PREFIX{\\"seq\\":1,\\"type\\":\\"ready\\"}"
        while read -r line; do printf 'read %s %s\\n' ${#line} "$line" | cut -c 1-200; done
        echo closed; exec sleep 600
        """

    @Test("a bot that reads its standard input gets each message there as one line of JSON, also from the next agent")
    func standardInput() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        var profile = bench.shell(Self.reader)
        profile.delivery = .stdin
        try await withBot(profile, bench) { fleet, _ in
            #expect(await fleet.deliver(message("m1", "one\ntwo")).outcome == .done)
            while !bench.records().contains(where: { $0.string.contains("m1") }) {
                try await Task.sleep(for: .milliseconds(10))  // allow-sleep: another process writes it
            }
            let said = bench.records().first { $0.string.contains("m1") }?.string ?? ""
            #expect(said.hasPrefix("read ") && said.contains(#""message_id":"m1""#) && said.contains(#"one\ntwo"#))
            // Larger than any pipe's buffer.
            let long = String(repeating: "x", count: 400_000)
            #expect(await fleet.deliver(message("m2", long)).outcome == .done)
            // Taken already: not written again.
            #expect(await fleet.deliver(message("m1", "one\ntwo")).outcome == .done)
        }
        try await withBot(profile, bench) { fleet, _ in
            #expect(await fleet.deliver(message("m3", "after the agent's restart")).outcome == .done)
            try await bench.waitForLine("read 0 ")
            while !bench.records().contains(where: { $0.string.contains("m3") }) {
                try await Task.sleep(for: .milliseconds(10))  // allow-sleep: another process writes it
            }
            _ = try await fleet.stop("a", graceMilliseconds: 100)
        }
        let read = bench.records().filter { $0.stream == .stdout }.map(\.string)
        #expect(read.filter { $0.contains(#""m1""#) }.count == 1)
        #expect(read.filter { $0.hasPrefix("read 4000") }.count == 1)
        #expect(!read.contains("closed"), "it saw an end of file")
    }

    @Test("a bot that does not read its standard input fails the message, and meets no half one in the next")
    func notReading() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = """
            echo "$BOT_PACKET_PREFIX{\\"seq\\":1,\\"type\\":\\"ready\\"}"
            while [ ! -e go ]; do sleep 0.05; done
            while read -r line; do case $line in *'"m2"'*) echo "got m2 ${#line}";; esac; done
            """
        var profile = bench.shell(script)
        profile.delivery = .stdin
        var timing = BotFleet.Timing()
        timing.deliveryAttempt = .milliseconds(300)
        timing.deliveryLimit = .milliseconds(500)
        try await withBot(profile, bench, timing: timing) { fleet, _ in
            let stuck = await fleet.deliver(message("m1", String(repeating: "x", count: 3 << 20)))
            #expect(stuck.outcome == .failed && stuck.message.contains("standard input"), "\(stuck)")
            try Files.replace(bench.directory("a") + "/go", with: [], mode: 0o600)
            while await fleet.deliver(message("m2", "short")).outcome != .done {}
            try await bench.waitForLine("got m2 59")
        }
    }

    @Test("a bot that speaks no packets takes no messages, and the sender is told so at once")
    func silent() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        var profile = bench.shell("echo up; exec sleep 600")
        profile.speaksPackets = false
        profile.settleTime = .milliseconds(50)
        try await withBot(profile, bench) { fleet, _ in
            let result = await fleet.deliver(message("m1", "hi"))
            #expect(result.outcome == .failed && result.errorCode == "bot_takes_no_messages")
        }
    }

    @Test("a bot that restarted itself in place is not given again what the one before may have taken")
    func restartedInPlace() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = """
            echo "$BOT_PACKET_PREFIX{\\"seq\\":1,\\"type\\":\\"ready\\"}"
            while [ ! -e go ]; do sleep 0.02; done
            echo "$BOT_PACKET_PREFIX{\\"seq\\":1,\\"type\\":\\"ready\\"}"
            exec sleep 600
            """
        var profile = bench.shell(script)
        // Ready without an endpoint, so that the shell will do.
        profile.delivery = .stdin
        try await withBot(profile, bench) { fleet, journal in
            let launch = try #require(await fleet.statuses().first?.launchID)
            let before = try await fleet.logEnd("a")
            #expect(try await fleet.recipient("a")?.readyOffset ?? .max < before)
            try Files.replace(bench.directory("a") + "/go", with: [], mode: 0o600)
            while try await fleet.recipient("a")?.readyOffset ?? 0 < before {
                try await Task.sleep(for: .milliseconds(10))  // allow-sleep: another process writes it
            }
            try await journal.saveDelivery(
                bot: "a",
                messageID: "m1",
                .init(launchID: launch, logOffset: before, isAccepted: false)
            )
            let result = await fleet.deliver(message("m1", "hi"))
            #expect(result.outcome == .unknown && result.message.contains("restarted"), "\(result)")
        }
    }

    @Test("a bot that restarted itself in place, and names an endpoint that is none, is told as not ready for that")
    func restartedUnready() async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let script = """
            exec python3 -c '
            import http.server, os, threading, time
            class Well(http.server.BaseHTTPRequestHandler):
                def do_GET(self): self.send_response(200); self.end_headers()
                def log_message(self, *words): pass
            server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["BOT_CHAT_PORT"])), Well)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            def ready(more): print(os.environ["BOT_PACKET_PREFIX"] + "{\\"seq\\":1,\\"type\\":\\"ready\\"" + more + "}", flush=True)
            ready("")
            while not os.path.exists("go"): time.sleep(0.02)
            ready(",\\"chat_url\\":\\"http://10.0.0.1:1/chat\\"")
            time.sleep(600)
            '
            """
        var profile = bench.shell(script)
        profile.readyTimeout = .seconds(5)
        try await withBot(profile, bench) { fleet, _ in
            try Files.replace(bench.directory("a") + "/go", with: [], mode: 0o600)
            let status = try await eventually(fleet) { $0.reasonCode == "not_ready" }
            #expect(status.phase == .starting && status.reason.contains("10.0.0.1"), "\(status.reason)")
        }
    }
}
