import Hummingbird

/// Answers every thrown error as a problem document. The outermost middleware.
struct ErrorMiddleware: RouterMiddleware {
    typealias Context = HubRequestContext

    func handle(
        _ request: Request,
        context: HubRequestContext,
        next: (Request, HubRequestContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            return ErrorRendering.response(for: error, logger: context.logger)
        }
    }
}
