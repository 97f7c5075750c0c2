@testable import WebSocketKitLite

/// One loop for the whole test process, as a program would have it.
let sharedLoop = Result { try EpollLoop.start() }

func makeDialer(_ configure: (inout DialConfiguration) -> Void = { _ in }) throws -> Dialer {
    var configuration = DialConfiguration()
    configure(&configuration)
    return Dialer(loop: try sharedLoop.get(), configuration: configuration)
}

/// The `WebSocketError` that `body` throws, or nil.
func webSocketError<T>(_ body: () async throws -> T) async -> WebSocketError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? WebSocketError
    }
}
