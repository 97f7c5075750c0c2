import Foundation
import Hummingbird
import NIOCore

/// What is known of a request while it is answered.
struct HubRequestContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// The peer's address; a proxy's where one stands in front.
    let remoteAddress: String
    /// The connection, to be closed on a listener that takes nothing.
    let channel: any Channel
    /// The connection the request came by.
    let connection: ConnectionCensus.ID
    /// Where the connection is dealt with.
    let eventLoop: any EventLoop
    /// Who asks; nil until the request was authenticated.
    var `operator`: Operator?
    /// Set where the request was authenticated by cookie.
    var session: OperatorSession?
    /// Set where the request was authenticated by token; asked about again while a stream is open.
    var bearer: String?
    /// When the credential ends that the request came with; nil for one without an end.
    var credentialExpiresAt: Date?

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
        remoteAddress = source.channel.remoteAddress?.ipAddress ?? "unknown"
        connection = ObjectIdentifier(source.channel)
        eventLoop = source.channel.eventLoop
    }

    /// The operator of a call that needs a role. Throws `unauthenticated` elsewhere.
    func requireOperator() throws -> Operator {
        guard let `operator` else { throw AuthenticationMiddleware.missing }
        return `operator`
    }

    /// Who the audit log says has done it.
    func actor() throws -> Actor { try requireOperator().actor }
}
