// What a user of openapi-generator writes. It is compiled, and run with the address of a server.

import client.ApiClient;
import client.ApiException;
import client.api.ScoringApi;
import client.api.ServerApi;
import client.model.Document;
import client.model.DocumentObject;
import client.model.PairRequest;
import client.model.RerankRequest;
import client.model.Result;
import java.util.List;

public class Usage {
  public static void main(String[] arguments) throws ApiException {
    ApiClient client = new ApiClient();
    client.updateBaseUri(arguments[0]);
    ScoringApi scoring = new ScoringApi(client);

    System.out.println(new ServerApi(client).getHealth().getStatus());

    PairRequest pair = new PairRequest().query("what is a panda?").passage("The giant panda is a bear of China.");
    double score = scoring.scorePair(pair, null, null).getScore();
    System.out.println(score);

    RerankRequest request =
        new RerankRequest()
            .query("what is a panda?")
            .documents(
                List.of(
                    new Document("Paris is a city."),
                    new Document(new DocumentObject().text("The giant panda is a bear of China."))))
            .returnDocuments(true);
    for (Result result : scoring.rerank(request, null, null).getResults()) {
      String text = result.getDocument().getDocumentObject().getText();
      System.out.println(result.getIndex() + " " + result.getRelevanceScore() + " " + text);
    }
  }
}
