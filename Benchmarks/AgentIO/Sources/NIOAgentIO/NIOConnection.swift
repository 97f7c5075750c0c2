import NIOCore
import NIOPosix
import Scenario

/// The channel as an async byte stream.
struct NIOConnection: ByteConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>

    init(_ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>) {
        self.inbound = inbound.makeAsyncIterator()
        self.outbound = outbound
    }

    func block(_ bytes: [UInt8]) -> ByteBuffer { ByteBuffer(bytes: bytes) }

    nonisolated(nonsending) mutating func send(_ block: ByteBuffer) async throws {
        try await outbound.write(block)
    }

    nonisolated(nonsending) mutating func receive() async throws -> Int {
        try await inbound.next(isolation: #isolation)?.readableBytes ?? 0
    }

    /// Dials, shakes hands, and gives the channel with TLS already done.
    static func connect(
        port: Int,
        authorityFile: String,
        on loop: any EventLoop
    ) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        let established = loop.makePromise(of: Void.self)
        let channel = try await ClientBootstrap(group: loop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        OpenSSLClientHandler(
                            hostName: "localhost",
                            authorityFile: authorityFile,
                            established: established
                        )
                    )
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        try await established.futureResult.get()
        return channel
    }
}
