import SwiftProtobuf
import Synchronization
import WireFormat

/// When figures are due, at the rate the hub wants. Pure.
struct TelemetryPace: Sendable, Equatable {
    /// What a hub may ask for; anything beyond is moved to the nearer end.
    static let limits: ClosedRange<Duration> = .seconds(1)...(.seconds(3600))

    private var heartbeatInterval = Duration.seconds(15)
    /// Nil: with each heartbeat.
    private var wanted: Duration?
    private var lastAt: ContinuousClock.Instant?

    mutating func begin(heartbeatInterval interval: Duration, _ settings: WireSessionSettings) {
        if interval > .zero { heartbeatInterval = interval }
        // A new session begins with a full heartbeat.
        lastAt = nil
        apply(settings)
    }

    mutating func apply(_ settings: WireSessionSettings) {
        let asked = Duration.milliseconds(clamping: settings.telemetryIntervalMs)
        wanted = asked == .zero ? nil : min(max(asked, Self.limits.lowerBound), Self.limits.upperBound)
    }

    /// Whether a heartbeat that goes out now takes figures along; if so they count as taken.
    mutating func takeWithHeartbeat(now: ContinuousClock.Instant) -> Bool {
        if let wanted, let lastAt {
            if wanted < heartbeatInterval { return false }
            // Rather half a heartbeat early than half a one late.
            if now - lastAt < wanted - heartbeatInterval / 2 { return false }
        }
        lastAt = now
        return true
    }

    /// The time between samples where heartbeats are too rare for it.
    var betweenHeartbeats: Duration? {
        wanted.flatMap { $0 < heartbeatInterval ? $0 : nil }
    }
}

/// Takes the figures of node and bots when the hub wants them, or when somebody asks.
final class TelemetryFeed: Sendable {
    private let sampler: TelemetrySampler
    private let roots: @Sendable () async -> [BotProcessRoot]
    private let measured: @Sendable () async -> [WireBotUsage]
    private let problems: @Sendable () async -> [WireNodeProblem]
    private let pace = Mutex(TelemetryPace())
    private let changed = Signal()

    /// - Parameters:
    ///   - roots: the running bots' processes.
    ///   - measured: the use of bots whose processes cannot be seen from here.
    ///   - problems: what keeps the agent from doing all it should.
    init(
        sampler: TelemetrySampler,
        roots: @escaping @Sendable () async -> [BotProcessRoot],
        measured: @escaping @Sendable () async -> [WireBotUsage] = { [] },
        problems: @escaping @Sendable () async -> [WireNodeProblem] = { [] }
    ) {
        self.sampler = sampler
        self.measured = measured
        self.problems = problems
        self.roots = roots
    }

    /// A session has begun.
    func begin(_ welcome: WireWelcome) {
        pace.withLock {
            $0.begin(heartbeatInterval: .milliseconds(clamping: welcome.heartbeatIntervalMs), welcome.settings)
        }
        changed.wake()
    }

    func apply(_ settings: WireSessionSettings) {
        pace.withLock { $0.apply(settings) }
        changed.wake()
    }

    /// Contents of a heartbeat.
    func heartbeat() async -> WireHeartbeat {
        var heartbeat = WireHeartbeat()
        guard pace.withLock({ $0.takeWithHeartbeat(now: .now) }) else {
            heartbeat.uptimeSeconds = await sampler.uptimeSeconds()
            return heartbeat
        }
        let sample = await sample()
        heartbeat.uptimeSeconds = sample.uptimeSeconds
        heartbeat.resources = sample.resources
        heartbeat.bots = sample.bots
        return heartbeat
    }

    func sample() async -> TelemetrySample {
        var sample = await sampler.sample(bots: await roots())
        sample.bots += await measured()
        sample.resources.problems = await problems()
        return sample
    }

    /// Sends what the hub wants between its heartbeats, until cancelled or `send` throws.
    func run(send: (WireTelemetry) async throws -> Void) async throws {
        while true {
            let ticket = changed.ticket
            guard let interval = pace.withLock({ $0.betweenHeartbeats }) else {
                try await changed.wait(after: ticket)
                continue
            }
            try await Task.sleep(for: interval)
            // The hub may have changed its mind meanwhile.
            guard pace.withLock({ $0.betweenHeartbeats }) != nil else { continue }
            let sample = await sample()
            try await send(
                WireTelemetry.with {
                    $0.resources = sample.resources
                    $0.bots = sample.bots
                }
            )
        }
    }
}
