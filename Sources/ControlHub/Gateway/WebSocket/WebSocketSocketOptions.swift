import NIOCore

/// How an upgraded connection hands bytes to the system: at once, and only a little ahead of what the link takes, because
/// what the system holds cannot be overtaken by a command any more.
enum WebSocketSocketOptions {
    /// Bytes the system may hold that were not sent yet. The agent keeps less: its link is the slow one.
    static let notSentLowWaterBytes = 16 << 10
    /// `TCP_NOTSENT_LOWAT` of Linux, which NIO does not name.
    static let notSentLowWater = ChannelOptions.Types.SocketOption(level: .tcp, name: .init(rawValue: 25))
    /// Bytes that wait before the system takes them: a frame and a bit, so that one is always ready.
    static let writeWaterMark = ChannelOptions.Types.WriteBufferWaterMark(low: 8 << 10, high: 24 << 10)

    /// Sets an upgraded connection up, on its event loop.
    static func apply(to channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        // Against the 40 ms that a small message would wait for the acknowledgement of the one before (RFC 896).
        try options.setOption(.tcpOption(.tcp_nodelay), value: 1)
        try options.setOption(notSentLowWater, value: notSentLowWaterBytes)
        try options.setOption(.writeBufferWaterMark, value: writeWaterMark)
    }
}
