import FoundationEssentials
import Glibc
import Synchronization
import Testing
import WireFormat

@testable import EdgeAgent

/// Deliveries through a real fleet to a bot that is ready at once, with the answers of its chat endpoint scripted.
@Suite(.timeLimit(.minutes(1)), .serialized) struct MessageDeliveryTests {
    private final class FakeTransport: BotChatTransport {
        let answers: Mutex<[Result<BotChatAnswer, BotChatError>]>
        let posts = Mutex(0)

        init(_ answers: [Result<BotChatAnswer, BotChatError>]) { self.answers = Mutex(answers) }

        func post(
            url: String,
            token: String,
            body: [UInt8],
            timeout: Duration
        ) async throws(BotChatError) -> BotChatAnswer {
            posts.withLock { $0 += 1 }
            return try answers.withLock { $0.isEmpty ? .failure(.noAnswer("silence")) : $0.removeFirst() }.get()
        }

        func get(url: String, token: String, timeout: Duration) async throws(BotChatError) -> BotChatAnswer {
            BotChatAnswer(status: 200, body: [])
        }
    }

    private static let ready = #"echo "$BOT_PACKET_PREFIX{\"seq\":1,\"type\":\"ready\"}"; "#
    private let message = filled(WireDeliverMessage()) {
        $0.botID = "a"
        $0.messageID = "m1"
        $0.conversationID = "c"
        $0.text = "hi"
    }

    private func answer(_ status: Int) -> Result<BotChatAnswer, BotChatError> {
        .success(BotChatAnswer(status: status, body: []))
    }

    private func withReadyBot(
        _ answers: [Result<BotChatAnswer, BotChatError>],
        script: String = "exec sleep 600",
        limit: Duration = .seconds(60),
        _ body: (BotFleet, Journal, FakeTransport) async throws -> Void
    ) async throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let transport = FakeTransport(answers)
        let journal = try bench.journal()
        var timing = BotFleet.Timing()
        timing.deliveryLimit = limit
        timing.deliveryPause = .milliseconds(5)
        let fleet = try bench.fleet(
            [bench.shell(Self.ready + script)],
            journal: journal,
            timing: timing,
            transport: transport
        )
        try await running(fleet) {
            _ = try await fleet.start(BotWorkbench.specification())
            _ = try await eventually(fleet) { $0.phase == .ready }
            try await body(fleet, journal, transport)
        }
    }

    @Test("A refused connection and 503 are tried again until the bot takes the message")
    func retries() async throws {
        let answers = [.failure(.notConnected("refused")), answer(503), .failure(.noAnswer("cut")), answer(200)]
        try await withReadyBot(answers) { fleet, _, transport in
            #expect(await fleet.deliver(message).outcome == .done)
            #expect(await fleet.deliver(message).outcome == .done)
            #expect(transport.posts.withLock { $0 } == 4)
        }
    }

    @Test("What the bot refuses is a failure with its status and may be sent again later")
    func refusal() async throws {
        try await withReadyBot([answer(400), answer(202)]) { fleet, _, _ in
            let first = await fleet.deliver(message)
            #expect(first.outcome == .failed && first.errorCode == "message_refused" && first.message.contains("400"))
            #expect(await fleet.deliver(message).outcome == .done)
        }
    }

    @Test("A bot that never answers leaves the outcome unknown, not failed")
    func silence() async throws {
        try await withReadyBot([], limit: .seconds(2)) { fleet, _, transport in
            #expect(await fleet.deliver(message).outcome == .unknown)
            #expect(transport.posts.withLock { $0 } > 0)
        }
    }

    @Test("After the launch changed, a message noted for the earlier one is not sent again")
    func launchChange() async throws {
        try await withReadyBot([answer(202)]) { fleet, journal, transport in
            try await journal.saveDelivery(
                bot: "a",
                messageID: "m1",
                .init(launchID: "earlier", logOffset: 0, isAccepted: false)
            )
            let result = await fleet.deliver(message)
            #expect(result.outcome == .unknown && result.errorCode == "delivery_unknown")
            #expect(transport.posts.withLock { $0 } == 0)
        }
    }

    @Test("After the launch changed, a packet about the message proves that it was taken")
    func provenByPacket() async throws {
        let script =
            #"echo "$BOT_PACKET_PREFIX{\"seq\":2,\"type\":\"user_message\",\"message_id\":\"m1\"}"; "#
            + "exec sleep 600"
        try await withReadyBot([], script: script) { fleet, journal, transport in
            try await journal.saveDelivery(
                bot: "a",
                messageID: "m1",
                .init(launchID: "earlier", logOffset: 0, isAccepted: false)
            )
            while try await !journal.hasPacket(bot: "a", messageID: "m1") { await Task.yield() }
            try await journal.acknowledge([
                filled(WirePacketCursor()) {
                    $0.botID = "a"; $0.throughSequence = 99
                }
            ])
            #expect(await fleet.deliver(message).outcome == .done)
            #expect(transport.posts.withLock { $0 } == 0)
        }
    }

    @Test("A bot that is stopped or unknown is told apart")
    func notRunning() async throws {
        try await withReadyBot([]) { fleet, _, _ in
            _ = try await fleet.stop("a", graceMilliseconds: 0)
            #expect(await fleet.deliver(message).errorCode == "bot_not_running")
            var other = message
            other.botID = "zz"
            #expect(await fleet.deliver(other).errorCode == "bot_not_found")
        }
    }

    @Test(
        "Only the loopback interface is ever spoken to",
        arguments: [
            "http://10.0.0.1/chat", "https://127.0.0.1/chat", "http://127.0.0.1.evil.example/chat",
            "http://user@127.0.0.1/chat", "http://127.0.0.1:0/chat", "file:///etc/passwd",
            "http://127.0.0.1/chat\r\nX: y",
        ]
    )
    func loopbackOnly(_ url: String) async throws {
        await #expect(throws: BotChatError.notLoopback(url)) {
            _ = try await BotWorkbench.loopback().get(url: url, token: "secret", timeout: .seconds(1))
        }
    }
}
