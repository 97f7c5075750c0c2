import Hummingbird
import NIOCore

/// Notices that a client has closed its side of a connection, while its request is being answered and nobody reads.
private final class ClientDepartureHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny

    private let departed: () -> Void

    init(_ departed: @escaping () -> Void) { self.departed = departed }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { departed() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        departed()
        context.fireChannelInactive()
    }
}

extension HubRequestContext {
    /// Does what costs others something for as long as the client is there that wants it.
    ///
    /// Only for what changes nothing but what its answer tells: a client that is gone may still mean what it has asked for. Throws
    /// `requestTimeout`, which nobody reads, once the client is gone; `body` is cancelled then.
    func whileClientWaits<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let gone = HubError(.requestTimeout, "Whoever asked has gone. Nothing was changed.")
        let (departures, departure) = AsyncStream<Void>.makeStream()
        let channel = channel
        let handler: NIOLoopBound<ClientDepartureHandler>
        do {
            handler = try await channel.eventLoop.submit {
                let handler = ClientDepartureHandler { departure.finish() }
                // First: what comes after it may keep the news to itself.
                try channel.pipeline.syncOperations.addHandler(handler, position: .first)
                return NIOLoopBound(handler, eventLoop: channel.eventLoop)
            }.get()
        } catch is ChannelError {
            throw gone
        }
        defer {
            channel.eventLoop.execute { channel.pipeline.syncOperations.removeHandler(handler.value, promise: nil) }
        }
        return try await withThrowingTaskGroup(of: Value.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                for await _ in departures {}
                throw gone
            }
            group.addTask(operation: body)
            guard let value = try await group.next() else { throw gone }
            return value
        }
    }
}
