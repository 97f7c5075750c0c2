import HTTPTypes
import Hummingbird

/// Answers every thrown error as a problem document.
struct ErrorMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    /// To tell an address that does not exist from one that does not take the method.
    let routes: [APIRoute]

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as HTTPError where error.status == .notFound {
            let methods = methods(at: request.uri.path)
            guard !methods.isEmpty else { return ErrorRendering.response(for: error, logger: context.logger) }
            let names = methods.map(\.rawValue).sorted().joined(separator: ", ")
            let refusal = HubError(
                .methodNotAllowed,
                "This address takes \(names), and not \(request.method.rawValue)."
            )
            var response = ErrorRendering.response(for: refusal, logger: context.logger)
            response.headers[.allow] = names
            return response
        } catch {
            return ErrorRendering.response(for: error, logger: context.logger)
        }
    }

    private func methods(at path: String) -> Set<HTTPRequest.Method> {
        let parts = path.split(separator: "/")
        var methods = Set(routes.filter { $0.matches(parts) }.map(\.method))
        if methods.contains(.get) { methods.insert(.head) }
        return methods
    }
}
