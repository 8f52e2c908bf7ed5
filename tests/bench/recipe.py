"""The usual recipe, as published for featurizing pictures with Keras on Spark: what this project is measured against.

binaryFile -> repartition -> iterator pandas UDF with broadcast weights -> model.predict -> Parquet. Only the
weights differ from the published one (the same as ours, of a file), and the input size where asked for.
"""

import io
import time
from collections.abc import Iterator

import contender
import memory
import numpy as np
import pandas as pd
from PIL import Image
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col, pandas_udf

from lookalike.models import weights_file


def featurize(spark: SparkSession, folder: str, size: int) -> DataFrame:
    """The features of all pictures of a folder."""
    images = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(folder)

    bc_model_weights = spark.sparkContext.broadcast(weights_file.read(weights_file.BUNDLED))

    def model_fn():
        """Build ResNet50 and load the broadcast weights."""
        from tensorflow.keras.applications.resnet50 import ResNet50

        model = ResNet50(weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3))
        model.set_weights(bc_model_weights.value)
        return model

    def preprocess(content):
        """Decode, resize and preprocess one picture."""
        from tensorflow.keras.applications.resnet50 import preprocess_input
        from tensorflow.keras.preprocessing.image import img_to_array

        img = Image.open(io.BytesIO(content)).resize([size, size])
        arr = img_to_array(img)
        return preprocess_input(arr)

    def featurize_series(model, content_series):
        """Features of a series of raw pictures."""
        input = np.stack(content_series.map(preprocess))
        preds = model.predict(input, verbose=0)
        output = [p.flatten() for p in preds]
        return pd.Series(output)

    @pandas_udf("array<float>")
    def featurize_udf(content_series_iter: Iterator[pd.Series]) -> Iterator[pd.Series]:
        """The model is built once a task, not once a batch."""
        model = model_fn()
        for content_series in content_series_iter:
            yield featurize_series(model, content_series)

    return images.repartition(16).select(col("path"), featurize_udf("content").alias("features"))


def measure(task: contender.Task) -> dict:
    with contender.spark_session(task) as spark, memory.watch() as peak:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "1024")
        features_df = featurize(spark, f"{task.catalogue}/images", task.input_size)
        features_df.write.mode("overwrite").parquet(f"{task.work}/features")
        end_to_end = time.time() - task.started

        again = time.perf_counter()
        features_df.write.mode("overwrite").parquet(f"{task.work}/features")
        steady = time.perf_counter() - again

        embedded = spark.read.parquet(f"{task.work}/features").count()
        assert embedded == task.pictures, f"{embedded} of {task.pictures} pictures"
    return {**contender.speeds(task, end_to_end, steady), **peak.figures}


if __name__ == "__main__":
    contender.main(measure)
