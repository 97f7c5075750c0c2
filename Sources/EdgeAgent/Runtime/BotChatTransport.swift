/// Sends one HTTP request to a bot's chat endpoint.
protocol BotChatTransport: Sendable {
    /// - Parameters:
    ///   - url: `http://` to a loopback address; anything else is refused, for it would carry the token away.
    ///   - token: sent as bearer token.
    ///   - timeout: for the whole exchange.
    func post(url: String, token: String, body: [UInt8], timeout: Duration) async throws(BotChatError) -> BotChatAnswer
    func get(url: String, token: String, timeout: Duration) async throws(BotChatError) -> BotChatAnswer
}

struct BotChatAnswer: Sendable, Equatable {
    var status: Int
    var body: [UInt8]
}

/// Why a bot's chat endpoint gave no answer.
enum BotChatError: Error, Sendable, Equatable {
    /// The address is no `http://` URL on the loopback interface.
    case notLoopback(String)
    /// Nothing listens there: the request was certainly not received.
    case notConnected(String)
    /// The connection broke or took too long: the request may have been received.
    case noAnswer(String)
}
