import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle
import Synchronization
import WireFormat

/// One event of a `text/event-stream`.
struct ServerSentEvent: Sendable {
    var id: String?
    var name: String?
    var data: Data

    /// As the HTML standard has it. `data` is one line of JSON.
    var text: String {
        var text = ""
        if let id { text += "id: \(id)\n" }
        if let name { text += "event: \(name)\n" }
        return text + "data: \(String(decoding: data, as: UTF8.self))\n\n"
    }
}

/// Writes event streams: pulls for events, keeps quiet connections alive, and ends with the hub.
final class ServerSentEvents: Sendable {
    /// A stream costs a connection and a task; more than this is a fault of some script.
    static let maximumStreams = 256
    /// Of one operator: a few pages in a few browsers.
    static let maximumStreamsPerOperator = 32
    /// Below what common proxies cut (30 to 60 s); also how soon a vanished reader is noticed.
    static let keepAlive = Duration.seconds(10)
    /// A reader that takes nothing for so long is let go: it costs a connection, a task and a batch of events, and its
    /// credential cannot be looked at. It may come back with `Last-Event-ID`.
    static let writeTimeout = Duration.seconds(20)

    private let open = Mutex<[OperatorID: Int]>([:])

    /// Streams that are open now.
    var count: Int { open.withLock { $0.values.reduce(0, +) } }

    private enum Step: Sendable {
        case events([ServerSentEvent]?)
        case quiet
        /// The operator was removed, or its token or session has ended.
        case unwelcome
        case shutdown
    }

    /// Answers with a stream.
    ///
    /// It ends with the credential that opened it, also where it is being written at that moment.
    ///
    /// - Parameters:
    ///   - next: the next events; nil ends the stream. It is asked again only after its events were written, so a slow
    ///     reader slows the source. Must return promptly when its task is cancelled.
    ///   - onEnd: releases the source; called once.
    func response(
        for context: HubRequestContext,
        services: HubServices,
        next: @escaping @Sendable () async throws -> [ServerSentEvent]?,
        onEnd: @escaping @Sendable () -> Void = {}
    ) throws -> Response {
        let lease: Lease
        do {
            lease = try self.lease(for: context, onEnd: onEnd)
        } catch {
            onEnd()
            throw error
        }
        let body = ResponseBody { writer in
            defer { lease.release() }
            let writing = Writing()
            try await withThrowingTaskGroup(of: Step.self) { group in
                defer { group.cancelAll() }
                group.addTask { try await Self.watch(writing, context, services) }
                group.addTask {
                    try await CredentialWatch(context, services).waitForEnd()
                    // What is being written to a reader that takes nothing cannot be given up otherwise.
                    if writing.isUnderWay { context.channel.close(promise: nil) }
                    return .unwelcome
                }
                writing.begin()
                try await writer.write(ByteBuffer(string: "retry: 2000\n\n"))
                writing.end()
                group.addTask { .events(try await next()) }
                group.addTask { try await Self.pause() }
                group.addTask {
                    try await gracefulShutdown()
                    return .shutdown
                }
                while let step = try await group.next() {
                    switch step {
                    case .events(nil), .shutdown, .unwelcome:
                        return
                    case .events(let events?):
                        if !events.isEmpty {
                            writing.begin()
                            try await writer.write(ByteBuffer(string: events.map(\.text).joined()))
                            writing.end()
                        }
                        group.addTask { .events(try await next()) }
                    case .quiet:
                        writing.begin()
                        try await writer.write(ByteBuffer(string: ": still here\n\n"))
                        writing.end()
                        group.addTask { try await Self.pause() }
                    }
                }
            }
            try await writer.finish(nil)
        }
        return Response(
            status: .ok,
            headers: [.contentType: "text/event-stream", .cacheControl: "no-store"],
            body: body
        )
    }

    /// Counts an answer that stays open. Throws `tooManyStreams`.
    ///
    /// - Parameter onEnd: called once, when the lease is released or dropped.
    func lease(for context: HubRequestContext, onEnd: @escaping @Sendable () -> Void = {}) throws -> Lease {
        let owner = try context.requireOperator().id
        let isAdmitted = open.withLock { open in
            guard open.values.reduce(0, +) < Self.maximumStreams,
                open[owner, default: 0] < Self.maximumStreamsPerOperator
            else { return false }
            open[owner, default: 0] += 1
            return true
        }
        guard isAdmitted else {
            throw HubError(
                .tooManyStreams,
                "Too many streams are open: \(Self.maximumStreams) in all and \(Self.maximumStreamsPerOperator) of one "
                    + "operator are possible. Close some.",
                retryAfter: .seconds(5)
            )
        }
        return Lease { [self] in
            open.withLock { open in
                open[owner, default: 1] -= 1
                if open[owner] == 0 { open[owner] = nil }
            }
            onEnd()
        }
    }

    /// Since when the reader has not taken what is being written.
    private final class Writing: Sendable {
        private let since = Mutex<ContinuousClock.Instant?>(nil)

        func begin() { since.withLock { $0 = .now } }

        func end() { since.withLock { $0 = nil } }

        var isUnderWay: Bool { since.withLock { $0 != nil } }

        var isOverdue: Bool { since.withLock { $0.map { .now - $0 > ServerSentEvents.writeTimeout } ?? false } }
    }

    /// Closes the connection of a reader that takes nothing: what is being written to it cannot be given up otherwise.
    private static func watch(
        _ writing: Writing,
        _ context: HubRequestContext,
        _ services: HubServices
    ) async throws -> Step {
        repeat {
            try await Task.sleep(for: writeTimeout / 4)
        } while !writing.isOverdue || !Defence.streamDeadline.isUp
        services.logger.info(
            "a listener that took nothing was let go",
            metadata: ["remote": "\(context.remoteAddress)"]
        )
        context.channel.close(promise: nil)
        return .shutdown
    }

    private static func pause() async throws -> Step {
        try await Task.sleep(for: keepAlive)
        return .quiet
    }

    /// Released when the stream ends, or when the response is dropped before it was ever written.
    final class Lease: Sendable {
        private let action: Mutex<(@Sendable () -> Void)?>

        init(_ action: @escaping @Sendable () -> Void) { self.action = Mutex(action) }

        func release() {
            let action = action.withLock { action in
                defer { action = nil }
                return action
            }
            action?()
        }

        deinit { release() }
    }
}
