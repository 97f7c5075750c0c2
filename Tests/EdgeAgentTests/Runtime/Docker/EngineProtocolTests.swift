import FoundationEssentials
import Glibc
import Testing
import WireFormat

@testable import EdgeAgent

/// What is said to the engine and how its answers are read; no engine is needed.
struct EngineProtocolTests {
    private static func frame(_ stream: UInt8, _ text: String) -> [UInt8] {
        let count = UInt32(text.utf8.count)
        return [
            stream, 0, 0, 0, UInt8(count >> 24), UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255),
        ]
            + Array(text.utf8)
    }

    @Test("The engine's log is read the same however it is cut")
    func decodesInPieces() throws {
        let bytes =
            Self.frame(1, "2026-01-31T12:00:00.123456789Z out\n") + Self.frame(2, "2026-01-31T12:00:00.5Z err\n")
            + Self.frame(3, "something of the engine's own") + Self.frame(1, "2026-01-31T13:00:00+01:00 \n")
        func decode(_ pieces: [[UInt8]]) throws -> [String] {
            var decoder = EngineLogDecoder()
            var found: [String] = []
            for piece in pieces {
                decoder.feed(piece)
                while let entry = try decoder.next() {
                    found.append(
                        "\(entry.stream) \(entry.time.tv_sec).\(entry.time.tv_nsec) \(String(decoding: entry.text, as: UTF8.self))"
                    )
                }
            }
            return found
        }
        let whole = [
            "stdout 1769860800.123456789 out\n", "stderr 1769860800.500000000 err\n", "stdout 1769860800.0 \n",
        ]
        #expect(try decode([bytes]) == whole)
        #expect(try decode(bytes.map { [$0] }) == whole)
        for cut in bytes.indices {
            #expect(try decode([Array(bytes[..<cut]), Array(bytes[cut...])]) == whole)
        }
    }

    @Test(
        "What is no log in frames is refused",
        arguments: ["HTTP/1.1 200 OK", "\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{4}text"]
    )
    func refusesOtherLogs(_ text: String) {
        var decoder = EngineLogDecoder()
        decoder.feed(Array(text.utf8))
        #expect(throws: EngineError.self) { try decoder.next() }
    }

    @Test(
        "The newest version both sides know is used",
        arguments: [
            ("1.41", "1.12", "1.41"), ("1.60", "1.24", "1.48"), ("1.25", "1.12", "1.25"), ("1.52", "1.44", "1.48"),
        ]
    )
    func negotiates(_ newest: String, _ oldest: String, _ agreed: String) throws {
        let version = EngineModels.Version(engine: "x", apiVersion: newest, minimumAPIVersion: oldest)
        #expect(try EngineAPIVersion.negotiate(with: version).description == agreed)
    }

    @Test(
        "Where there is no common version it is said which side is too old",
        arguments: [
            ("1.24", "1.12", "upgrade Docker"), ("1.70", "1.60", "upgrade the agent"), ("?", "1.12", "no Docker"),
        ]
    )
    func refusesVersions(_ newest: String, _ oldest: String, _ words: String) {
        let version = EngineModels.Version(engine: "x", apiVersion: newest, minimumAPIVersion: oldest)
        let error = #expect(throws: EngineError.self) { try EngineAPIVersion.negotiate(with: version) }
        #expect(error?.reason.contains(words) == true)
    }

    @Test("Without an engine it is said what is missing and what to do")
    func saysWhatIsMissing() async throws {
        let error = await #expect(throws: EngineError.self) {
            try await EngineClient(transport: CurlTransport(socketPath: "/nowhere/docker.sock")).negotiate()
        }
        // On a machine without libcurl that is what is said, rightly.
        #expect(error?.reason.contains("apt-get install") == true)
        #expect(EngineAdvice.unreachable("/", ECONNREFUSED).contains("systemctl start docker"))
        #expect(EngineAdvice.unreachable("/", EACCES).contains("usermod -aG docker"))
    }

    @Test("A pull is told in layers and bytes, and its failure in the engine's words")
    func tellsPull() {
        var progress = PullProgress(image: "me/bot:1")
        #expect(progress.text == "pulling the image me/bot:1")
        let lines = """
            {"status":"Pulling from me/bot","id":"1"}
            {"status":"Already exists","progressDetail":{},"id":"aaa"}
            {"status":"Pulling fs layer","progressDetail":{},"id":"bbb"}
            {"status":"Downloading","progressDetail":{"current":1500000,"total":4000000},"progress":"[=> ]","id":"bbb"}
            not json

            """
        for byte in lines.utf8 { progress.feed([byte]) }
        #expect(progress.text == "pulling the image me/bot:1: 1 of 2 layers, 1.5 of 4.0 MB")
        progress.feed(Array(#"{"status":"Pull complete","id":"bbb"}"#.utf8) + [10])
        #expect(progress.text == "pulling the image me/bot:1: 2 of 2 layers, 4.0 of 4.0 MB")
        #expect(progress.failure == nil)
        progress.feed(Array(#"{"errorDetail":{"message":"denied"},"error":"denied"}"#.utf8))
        progress.end()
        #expect(progress.failure == "denied")
    }

    @Test("Credentials are found under every name docker login writes, and go to their own registry alone")
    func findsCredentials() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let file = bench.path + "/bots/config.json"
        let json = """
            {"auths":{"https://index.docker.io/v1/":{"auth":"YWRhOnA6dw=="},"ghcr.io":{"identitytoken":"tok"},
            "r.example:5000":{"username":"u","password":"ü?>"}},"credHelpers":{"gcr.io":"gcloud"}}
            """
        try Files.replace(file, with: Array(json.utf8), mode: 0o600)
        let credentials = RegistryCredentials(file: file)
        func told(_ registry: String) throws -> [String: String]? {
            guard let text = try credentials.authorization(for: registry) else { return nil }
            #expect(!text.contains("+") && !text.contains("/"))
            let standard = text.replacing("-", with: "+").replacing("_", with: "/")
            return try JSONDecoder().decode([String: String].self, from: try #require(Data(base64Encoded: standard)))
        }
        #expect(
            try told("docker.io")
                == ["username": "ada", "password": "p:w", "serveraddress": "https://index.docker.io/v1/"]
        )
        #expect(try told("ghcr.io") == ["identitytoken": "tok", "serveraddress": "ghcr.io"])
        #expect(try told("r.example:5000")?["password"] == "ü?>")
        #expect(try told("gcr.io") == nil && credentials.needsHelper(for: "gcr.io"))
        #expect(try told("r.example") == nil && !credentials.needsHelper(for: "r.example"))
        #expect(try RegistryCredentials(file: "/nowhere/config.json").authorization(for: "ghcr.io") == nil)
        try Files.replace(file, with: Array("[".utf8), mode: 0o600)
        #expect(throws: RuntimeError.self) { try credentials.authorization(for: "ghcr.io") }
    }

    @Test("A bot is reached at its published port only, whatever it calls its own side")
    func findsChat() throws {
        func url(_ url: String?, _ network: String) throws -> String {
            try ContainerChat.url(url, network: network, port: 4000)
        }
        #expect(try url(nil, "bridge") == "http://127.0.0.1:4000/chat")
        #expect(try url("http://0.0.0.0:4000/talk", "bots") == "http://127.0.0.1:4000/talk")
        #expect(try url("http://[::]:4000/chat", "bridge") == "http://127.0.0.1:4000/chat")
        #expect(try url("http://127.0.0.1:4001/chat", "host") == "http://127.0.0.1:4001/chat")
        for other in ["http://127.0.0.1:4001/chat", "http://192.0.2.1:4000/chat", "https://0.0.0.0:4000/", "nonsense"] {
            #expect(throws: BotChatError.notLoopback(other)) { try url(other, "bridge") }
        }
        #expect(throws: BotChatError.notConnected("the profile gives the bot no network")) { try url(nil, "none") }
    }

    @Test(
        "An end is told as what it was",
        arguments: [
            (#"{"Running":false,"ExitCode":7}"#, false, 7, 0, nil),
            (#"{"Running":false,"ExitCode":137,"OOMKilled":true}"#, false, 0, 9, 1),
            (#"{"Running":false,"ExitCode":137,"OOMKilled":false}"#, true, 0, 9, nil),
            // Nobody knows whether that was a signal: a program may exit with 137.
            (#"{"Running":false,"ExitCode":137,"OOMKilled":false}"#, false, 137, 0, nil),
            (#"{"Running":false,"ExitCode":1,"OOMKilled":true}"#, false, 1, 0, 1),
        ] as [(String, Bool, Int32, Int32, UInt64?)]
    )
    func tellsEnds(_ json: String, _ wasKilled: Bool, _ code: Int32, _ signal: Int32, _ kills: UInt64?) throws {
        let state = try JSONDecoder().decode(EngineModels.Container.State.self, from: Data(json.utf8))
        let event = ContainerEnd.event(
            launchID: "l",
            state: state,
            isRequested: false,
            wasKilled: wasKilled,
            lastStderr: []
        )
        #expect(event.code == code && event.signal == signal && event.memoryKills == kills && event.lost == nil)
        let gone = ContainerEnd.event(launchID: "l", state: nil, isRequested: true, wasKilled: false, lastStderr: [])
        #expect(gone.lost == true && gone.requested == true)
    }

    /// The first is what Docker 20.10 gave for a container of the tests, on a machine with control groups of version 1.
    /// The second is made by hand from the API's documentation: there is no machine with version 2 among those that run
    /// these tests.
    @Test("The engine's figures are read in the shapes of both versions of control groups", arguments: [1, 2])
    func readsStats(_ version: Int) throws {
        let file = #filePath.split(separator: "/").dropLast(1).joined(separator: "/")
        let bytes = try #require(try Files.read("/\(file)/Samples/stats-cgroup\(version).json"))
        let stats = try JSONDecoder().decode(ContainerStats.self, from: Data(bytes))
        let usage = stats.usage(botID: "a", at: 5, before: (seconds: 0, elapsed: .seconds(1)))
        #expect(usage.cpuSource == "cgroup\(version)" && usage.botID == "a" && usage.sampledAtUnixMs == 5)
        #expect(usage.cpuSecondsTotal > 0 && abs(usage.cpuPercent - 100 * usage.cpuSecondsTotal) < 0.001)
        #expect(usage.rssBytes > 0 && usage.cgroupMemoryBytes >= usage.rssBytes && usage.threadCount > 0)
        if version == 2 {
            #expect(
                usage.rssBytes == 1_216_512 && usage.ioReadBytesTotal == 24_576 && usage.ioWrittenBytesTotal == 4_096
            )
        }
    }

    @Test("What the bot's log already holds is found however often it has been cut into segments")
    func findsTail() throws {
        let bench = try BotWorkbench()
        defer { bench.cleanUp() }
        let directory = try BotDirectory(root: bench.bots, botID: "a")
        try directory.make()
        var writer = LogSegmentWriter(directory: directory.logs, limits: .init(segmentBytes: 400, segmentCount: 100))
        func write(_ second: Int, _ stream: LogStream, _ text: String) {
            var record: [UInt8] = []
            Array(text.utf8).withUnsafeBytes {
                LogRecord.write(
                    to: &record,
                    timestamp: LogTimestamp.text(timespec(tv_sec: 1_700_000_000 + second, tv_nsec: 0)),
                    stream: stream,
                    isTruncated: false,
                    text: $0
                )
            }
            writer.append(record, count: 1)
        }
        write(-10, .stdout, "of the launch before")
        let offset = writer.endOffset
        write(0, .supervisor, #"{"event":"started","launch_id":"l"}"#)
        for second in 0..<60 { write(second, second % 3 == 0 ? .stderr : .stdout, "line") }
        write(59, .stdout, "line")
        func tail(pending: UInt64? = nil, now: UInt64 = 1_800_000_000_000) -> ContainerLogTail {
            ContainerLogTail(directory: directory.logs, launchID: "l", offset: offset, pendingSince: pending, now: now)
        }
        let found = tail()
        #expect(found.hasStarted && found.end == nil && found.since == 1_700_000_057_000)
        // 57 is stderr, 58 stdout once, 59 stdout twice.
        #expect(found.lines.values.reduce(0, +) == 4)
        #expect(String(decoding: found.errors.text, as: UTF8.self).hasSuffix("line\n"))
        #expect(tail(pending: 1_700_000_020_000).since == 1_700_000_018_000)
        #expect(tail(pending: 1_700_000_020_000).lines.values.reduce(0, +) == 43)
        // The clock was set back: nothing can be concluded from times.
        #expect(tail(now: 1_700_000_000_000).since == 0)
        #expect(tail(now: 1_700_000_000_000).lines.values.reduce(0, +) == 61)
        write(61, .supervisor, #"{"event":"exited","launch_id":"l","code":3}"#)
        #expect(tail().end?.code == 3)
    }
}
